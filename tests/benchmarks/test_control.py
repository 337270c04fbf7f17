from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from snn4.agent.config.file import CONFIGS
from snn4.agent.show.text import COUNTED
from snn4.benchmarks import control, images
from snn4.benchmarks.publishing import publish


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """The config file of a life that takes seconds."""
    config = yaml.safe_load((CONFIGS / "cartpole.yaml").read_text())
    config["world"][0]["steps"] = 1000
    config["evaluation"] = {"every": 500, "episodes": 2, "test_episodes": 3}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_a_finished_life_is_not_lived_again(tiny: str, tmp_path: Path) -> None:
    first = control.live_once(tiny, ["seed=7"], tmp_path / "runs")
    again = control.live_once(tiny, ["seed=7"], tmp_path / "runs")
    assert first == again
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert first["seed"] == 7
    assert first["organism_seconds"] > 0


def test_the_table_shows_the_mean_over_seeds(tiny: str, tmp_path: Path) -> None:
    rows = [control.live_once(tiny, [f"seed={seed}"], tmp_path / "runs") for seed in (0, 1)]
    path = tmp_path / "results" / "tiny.json"
    publish(path, "control", "tiny", rows, control.summary(rows))
    result = json.loads(path.read_text())
    mean = sum(row["tasks"]["CartPole-v1"]["return_mean"] for row in rows) / 2
    assert result["summary"]["tasks"]["CartPole-v1"]["return_mean"]["mean"] == pytest.approx(mean)
    assert f"{mean:.1f}" in control.table([result])
    assert control.table([result]).endswith(COUNTED)
    assert {"command", "commit_hash", "versions", "machine"} <= set(result)


@pytest.mark.slow
def test_a_stream_says_what_is_left_of_each_task(tiny: str, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(tiny).read_text())
    cartpole = config["world"][0] | {"steps": 500}
    config["world"] = [cartpole | {"reference": 30.0}, cartpole | {"environment": "Acrobot-v1"}]
    Path(tiny).write_text(yaml.safe_dump(config))
    row = control.live_once(tiny, [], tmp_path / "runs")
    summary = control.summary([row])
    for key, being in (("tasks", "organism"), ("ann_twin", "ann_twin")):
        chance, reached = row["retention"][being]["chance"]["CartPole-v1"], row[key]["CartPole-v1"]["return_mean"]
        normalized = summary[key]["CartPole-v1"]["normalized"]["mean"]
        assert normalized == pytest.approx((reached - chance) / (30.0 - chance))
        assert f" {reached:.1f} ({100 * normalized:.0f} %)" in control.table(
            [{"config": "x", "summary": summary, "seeds": [row]}]
        )
    assert "x: Acrobot-v1" in control.table([{"config": "x", "summary": summary, "seeds": [row]}])


def test_changed_lives_are_published_under_their_own_name(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(control, "CONTROL", tmp_path / "results")
    line = f"control {tiny} name=other policy.T=2 --seeds 3 --no-twin --runs-dir {tmp_path / 'runs'} --table"
    monkeypatch.setattr("sys.argv", line.split())
    control.main()
    (path,) = (tmp_path / "results").iterdir()
    (row,) = json.loads(path.read_text())["seeds"]
    assert (path.name, row["seed"], row["ann_twin"]) == ("other.json", 3, {})
    assert "not trained" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "message"), [(["polic.T=2"], "polic: unknown key"), (["nosuch"], "nosuch: no such file")]
)
@pytest.mark.parametrize(("module", "config"), [(control, "cartpole"), (images, "digits")])
def test_what_cannot_be_run_is_reported_before_anything_runs(
    module: Any, config: str, typed: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.argv", ["benchmark", config, *typed, "--runs-dir", str(tmp_path / "runs")])
    with pytest.raises(SystemExit, match="2"):
        module.main()
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("option", ["--folds=0", "--folds=1", "--folds=x", "--jobs=0"])
def test_numbers_that_mean_nothing(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["images", "digits", option])
    with pytest.raises(SystemExit, match="2"):
        images.main()
    name, value = option.split("=")
    assert f"argument {name}: got '{value}', allowed is a whole number >= " in capsys.readouterr().err


@pytest.mark.parametrize(("module", "configs"), [(control, "cartpole acrobot"), (images, "digits mnist")])
def test_two_configs_share_no_result(
    module: Any, configs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    monkeypatch.setattr("sys.argv", ["benchmark", *configs.split(), "name=mine", "--runs-dir", str(runs)])
    with pytest.raises(SystemExit, match="2"):
        module.main()
    assert "name: got mine for several configs" in capsys.readouterr().err
    assert not runs.exists()
