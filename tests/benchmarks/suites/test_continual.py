from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from snn4.agent import kinds
from snn4.agent.config.file import ConfigError, dump
from snn4.agent.run.journal import Journal
from snn4.benchmarks.publishing import interval
from snn4.benchmarks.suites import continual
from snn4.benchmarks.suites.continual import add, changes_of, compared, summary, table

TINY = """\
name: tiny-stream
stream: {data: {name: digits, limit: 200}, classes: [[0, 1], [2, 3]], experiences: 2}
network: {name: vgg-small, T: 1, options: {channels: [4, 8]}}
strategy: {name: replay, memory: 20}
training: {epochs: 1, batch_size: 16, learning_rate: 0.01}
threads: 1
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_stream.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def cli(bench: Callable[..., Any]) -> Callable[..., Any]:
    """Runs ``snn4-agent bench continual`` with the given arguments in this process."""
    return lambda *arguments: bench("continual", *arguments)


def test_cells_are_lived_once(cli: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    where = ["--benchmark", tiny, "--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results"]
    output = cli(*where, "--strategies", "naive,replay", "--seeds", "2", "--json", "replay:strategy.memory=30")
    assert output.status == 0, output.err
    assert output.err.count("%, ANN twin ") == 4
    result = json.loads(output.out)
    assert result == json.loads((tmp_path / "results" / "continual" / "tiny_stream.json").read_text())
    folders = {path.name for path in (tmp_path / "runs").iterdir()}
    assert len(folders) == 4
    replay = result["strategies"]["replay"]
    assert {"command", "commit_hash", "versions", "machine", "changes", "config", "summary", "seeds"} == set(replay) - {
        "commit_dirty"
    }
    assert [row["seed"] for row in replay["seeds"]] == [0, 1]
    assert (replay["config"]["strategy"]["memory"], replay["config"]["ann_twin"]) == (30, True)
    assert {row["network"]["replay_bytes"] for row in replay["seeds"]} == {30 * 64}
    assert {row["network"]["replay_bytes"] for row in result["strategies"]["naive"]["seeds"]} == {0}
    again = cli(*where, "--strategies", "replay", "--seeds", "1", "replay:strategy.memory=30")
    assert {path.name for path in (tmp_path / "runs").iterdir()} == folders
    published = json.loads((tmp_path / "results" / "continual" / "tiny_stream.json").read_text())["strategies"]
    assert published["naive"] == result["strategies"]["naive"]
    assert published["replay"]["seeds"] == replay["seeds"]
    for line in (again, cli("--table", "--results-dir", tmp_path / "results")):
        mean = 100 * replay["summary"]["network"]["average_accuracy"]["mean"]
        assert f"| tiny_stream | replay | 2 | {mean:.2f} ± " in line.out


def test_a_broken_off_cell_is_resumed(tiny: Path, tmp_path: Path) -> None:
    _, config = kinds.load(tiny, [*changes_of(tiny, "replay", ["replay"], []), "seed=0"])
    with Journal.create(tmp_path / "runs", config.name, dump(config), {}):
        pass
    continual.bench(compared(str(tiny), ["replay"], [0], [], tmp_path / "runs", tmp_path / "results"))
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "summary.json").is_file()


def test_a_strategy_under_another_name(tiny: Path) -> None:
    changes = ["training.epochs=2", "rar:strategy.name=replay", "rar:training.passes=3"]
    names = ["rar", "replay"]
    rar, replay = (kinds.load(tiny, changes_of(tiny, name, names, changes))[1] for name in names)
    assert (rar.strategy.name, rar.training.passes, rar.training.epochs) == ("replay", 3, 2)
    assert (replay.strategy.name, replay.training.passes, replay.training.epochs) == ("replay", 1, 2)


def test_options_of_the_config_are_its_own_strategy_s(tiny: Path) -> None:
    tiny.write_text(TINY.replace("memory: 20", "memory: 20, options: {balance: class}"))
    replay, ewc = (kinds.load(tiny, changes_of(tiny, name, [name], []))[1].strategy for name in ("replay", "ewc"))
    assert (dict(replay.options), dict(ewc.options), ewc.memory) == ({"balance": "class"}, {}, 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--strategies", "naive,reply"], "strategy.name: got 'reply', did you mean replay?"),
     (["--strategies", "naive,task-gates"], "needs task labels"),
     (["--strategies", "naive,icarl", "strategy.memory=1"], "memory: got 1 samples"),
     (["--strategies", "naive,naive"], "strategies: got 'naive,naive'"),
     (["--strategies", "naive", "ewc:training.epochs=2"], "got the strategy 'ewc', allowed are naive"),
     (["--strategies", "naive", "training.epocs=2"], "did you mean epochs?"),
     (["--strategies", "naive", "stream.experiences=40"], "experiences: got 40"),
     (["--strategies", "naive", "seed=5"], "seed=5: allowed is no seed; set the number of seeds with --seeds"),
     (["--strategies", "naive", "naive:seed=5"], "naive:seed=5: allowed is no seed")],
)  # fmt: skip
def test_bad_input(cli: Callable[..., Any], tiny: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    """An error in the second strategy is reported before the first one is lived."""
    output = cli(
        "--benchmark", tiny, "--runs-dir", tmp_path / "runs", "--results-dir", tmp_path / "results", *arguments
    )
    assert (output.status, output.out) == (2, "")
    assert message in output.err
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"config": "tiny"}'])
def test_damaged_results_stop_before_anything_is_lived(
    cli: Callable[..., Any], tiny: Path, tmp_path: Path, content: str
) -> None:
    results = tmp_path / "results"
    (results / "continual").mkdir(parents=True)
    (results / "continual" / "tiny_stream.json").write_text(content)
    for arguments in (["--benchmark", tiny, "--runs-dir", tmp_path / "runs"], ["--table"]):
        output = cli(*arguments, "--results-dir", results)
        assert (output.status, output.out) == (2, "")
        assert "tiny_stream.json: is no result file" in output.err
    assert not (tmp_path / "runs").exists()
    output = cli("--benchmark", tiny, "--runs-dir", tmp_path / "runs", "--results-dir", tiny)
    assert (output.status, output.out) == (2, "")
    assert "--results-dir: got" in output.err
    assert not (tmp_path / "runs").exists()


def test_published_results_change_only_if_their_folder_is_named(
    cli: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continual, "FOLDER", tmp_path / "published" / "continual")
    output = cli("--benchmark", tiny, "--runs-dir", tmp_path / "runs", "--strategies", "naive", "--seeds", "1")
    assert output.status == 0, output.err
    assert [path.name for path in (tmp_path / "runs" / "results" / "continual").iterdir()] == ["tiny_stream.json"]
    assert not (tmp_path / "published").exists()
    assert "tiny_stream" not in cli("--table").out


def test_no_such_benchmark(cli: Callable[..., Any]) -> None:
    assert "did you mean split_cifar10?" in cli("--benchmark", "split-cifar1").err
    assert "--benchmark: missing" in cli().err
    assert "kind: got 'training', allowed is stream" in cli("--benchmark", "digits").err


def test_a_benchmark_is_a_shipped_config() -> None:
    assert continual._config("split-cifar10").name == "split_cifar10.yaml"


def test_the_interval_is_student_s() -> None:
    values = [0.5, 0.6, 0.65, 0.7, 0.75]
    low, high = stats.t.interval(0.95, 4, loc=sum(values) / 5, scale=stats.sem(values))
    summed_up = interval(values)
    assert summed_up["interval95"] == pytest.approx((high - low) / 2)
    assert summed_up["mean"] == pytest.approx(0.64)
    assert interval([0.5])["interval95"] is None


def row(seed: int, snn: float, ann: float) -> dict[str, Any]:
    def being(accuracy: float) -> dict[str, Any]:
        return dict.fromkeys(continual.SUMMED_UP, 0.0) | {"average_accuracy": accuracy, "forward_transfer": None}

    return {"seed": seed, "network": being(snn), "ann_twin": being(ann), "config": {"x": 1}}


def test_the_difference_is_paired_by_seed() -> None:
    totals = summary([row(0, 0.5, 0.4), row(1, 0.9, 0.8), row(2, 0.1, 0.0)])
    assert totals["difference"]["average_accuracy"]["mean"] == pytest.approx(0.1)
    assert totals["difference"]["average_accuracy"]["interval95"] == pytest.approx(0.0, abs=1e-12)
    assert totals["network"]["average_accuracy"]["interval95"] > 0.5
    assert "forward_transfer" not in totals["network"]


def test_results_are_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "b.json"
    add(file, "b", "naive", [], row(1, 0.2, 0.2))
    add(file, "b", "replay", [], row(1, 0.5, 0.4))
    result = add(file, "b", "replay", [], row(0, 0.7, 0.8))
    assert [row["seed"] for row in result["strategies"]["replay"]["seeds"]] == [0, 1]
    assert [line.split(" | ")[1:3] for line in table([result]).splitlines()[2:]] == [["replay", "2"], ["naive", "1"]]
    assert not capsys.readouterr().err
    replaced = add(file, "b", "replay", [], row(0, 0.7, 0.8) | {"config": {"x": 2}})
    assert "replay: replaces results with other settings" in capsys.readouterr().err
    assert [row["seed"] for row in replaced["strategies"]["replay"]["seeds"]] == [0]  # the others had another config
    assert list(tmp_path.iterdir()) == [file]


def test_without_a_twin(tmp_path: Path) -> None:
    alone = row(0, 0.5, 0.0)
    alone.pop("ann_twin")
    result = add(tmp_path / "b.json", "b", "naive", [], alone)
    assert "| naive | 1 | 50.00 | - | - |" in table([result])


def test_problems_are_config_errors(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="allowed are names, each once"):
        compared(str(tiny), [""], [0], [], tmp_path, tmp_path)
