from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lives import tiny_life

from snn4.agent.life.trained import trained_policy
from snn4.agent.run.beings import ANN_TWIN
from snn4.agent.show.text import COUNTED
from snn4.benchmarks.publishing import publish
from snn4.benchmarks.record_schema import check
from snn4.benchmarks.suites import control
from snn4.benchmarks.suites.int8_twin import Acting
from snn4.envs.control import make_control
from snn4.learners.algorithms import LearnerConfig, make_policy
from snn4.policies.compression.quantization import quantized
from snn4.policies.sb3 import PolicyConfig


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two lives."""
    folder = tmp_path_factory.mktemp("control")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny_life()))
    for seed in (0, 1):
        control.live_once(str(folder / "tiny.yaml"), ["ann_twin=true", f"seed={seed}"], folder)
    return folder


@pytest.fixture(scope="module")
def rows(runs: Path) -> list[dict[str, Any]]:
    """What a second call finds there."""
    changes = [["ann_twin=true", f"seed={seed}"] for seed in (0, 1)]
    return [control.live_once(str(runs / "tiny.yaml"), change, runs) for change in changes]


def test_a_finished_life_is_not_lived_again(runs: Path, rows: list[dict[str, Any]]) -> None:
    assert len(list(runs.glob("tiny-*"))) == 2
    assert [row["seed"] for row in rows] == [0, 1]
    assert rows[1]["organism_seconds"] > 0
    assert [step for step, _ in rows[1]["validations"]["organism"]] == [256, 512]
    test, in_int8 = rows[1]["ann_twin"]["CartPole-v1"], rows[1]["int8_twin"]["CartPole-v1"]
    assert len(test["returns"]) == len(in_int8["returns"]) == test["episodes"] == 3


def test_the_table_shows_the_mean_over_seeds(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "results" / "tiny.json"
    publish(path, "control", "tiny", rows, control.summary(rows))
    result = json.loads(path.read_text())
    mean = sum(row["tasks"]["CartPole-v1"]["return_mean"] for row in rows) / 2
    assert result["summary"]["tasks"]["CartPole-v1"]["return_mean"]["mean"] == pytest.approx(mean)
    table, _, statistics = control.table([result]).partition(f"\n\n{COUNTED}\n\n")
    assert f"{mean:.1f}" in table
    assert "| CartPole-v1 | int8 twin | 2 | " in statistics
    assert {"command", "commit_hash", "versions", "machine"} <= set(result)
    old = {**result, "seeds": [{k: v for k, v in row.items() if k != "validations"} for row in rows]}
    assert control.table([old]) == f"{table}\n\n{COUNTED}"
    taught = {**result, "seeds": [{**row, "changes": ["teacher.source=x.zip"]} for row in rows]}
    assert control.table([taught]) == control.table([old]), "the lessons of a teacher are no sample efficiency"


@pytest.mark.slow
def test_a_stream_says_what_is_left_of_each_task(tiny: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(tiny.read_text())
    cartpole = config["world"][0] | {"steps": 500}
    config["world"] = [cartpole | {"reference": 30.0}, cartpole | {"environment": "Acrobot-v1"}]
    tiny.write_text(yaml.safe_dump(config))
    row = control.live_once(str(tiny), [], tmp_path / "runs")
    summary = control.summary([row])
    for key, being in (("tasks", "organism"), ("ann_twin", "ann_twin")):
        chance, reached = row["retention"][being]["chance"]["CartPole-v1"], row[key]["CartPole-v1"]["return_mean"]
        normalized = summary[key]["CartPole-v1"]["normalized"]["mean"]
        assert normalized == pytest.approx((reached - chance) / (30.0 - chance))
        assert f" {reached:.1f} ({100 * normalized:.0f} %)" in control.table(
            [{"config": "x", "summary": summary, "seeds": [row]}]
        )
    assert "x: Acrobot-v1" in control.table([{"config": "x", "summary": summary, "seeds": [row]}])


def test_changed_lives_are_published_under_their_own_name(tiny: Path, bench: Callable[..., Any]) -> None:
    output = bench("control", tiny, "name=other", "ann_twin=false", "--vary", "policy.T=1,2", "--seeds", "1", "--json")
    assert output.status == 0, output.err
    results = json.loads(output.out)
    assert [result["config"] for result in results] == ["other-1", "other-2"]
    folder = Path("runs/benchmarks/results/control")
    assert json.loads((folder / "other-2.json").read_text()) == results[1]
    if results[0]["commit_hash"] is not None:  # in a checkout
        check(results[0], "other-1")
    assert (results[0]["seeds"][0]["ann_twin"], results[0]["command"][:24]) == ({}, "snn4-agent bench control")
    again = bench("control", tiny, "name=other", "ann_twin=false", "--vary", "policy.T=1,2", "--seeds", "1", "--json")
    assert [result["seeds"] for result in json.loads(again.out)] == [result["seeds"] for result in results]
    assert len(list(Path("runs/benchmarks").glob("other-*"))) == 2
    shown = bench("control", "--table", "--results-dir", "runs/benchmarks/results")
    assert "not trained" in shown.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cartpole", "polic.T=2"], "polic: unknown key"),
        (["nosuch"], "nosuch: no such file"),
        (["digits"], "digits: kind: got 'training', allowed is life"),
        (["cartpole", "acrobot", "name=mine"], "name: got mine for cartpole and acrobot"),
        (["cartpole", "--figures", "/dev/null/figures"], "--figures: got /dev/null/figures (Not a directory)"),
        (["cartpole", "--results-dir", "/dev/null"], "--results-dir: got /dev/null/control (Not a directory)"),
    ],
)
def test_what_cannot_be_run_is_reported_before_anything_runs(
    arguments: list[str], message: str, bench: Callable[..., Any], tmp_path: Path
) -> None:
    output = bench("control", *arguments, "--seeds", "1")
    assert (output.status, output.out) == (2, "")
    assert message in output.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("group", "module", "extra"), [("mujoco", "mujoco", "mujoco"), ("minatar", "minatar.gym", "minatar")]
)
def test_a_missing_extra_is_named_before_anything_runs(
    group: str, module: str, extra: str, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.mujoco")]:
        monkeypatch.delitem(sys.modules, name)
    output = bench("control", group)
    assert output.status == 2
    assert f"pip install 'snn4-agent[{extra}]'" in output.err
    assert list(tmp_path.iterdir()) == []


def test_the_twin_in_int8_has_few_levels_and_acts_alike(runs: Path) -> None:
    policy = trained_policy(next(runs.glob("tiny-*")), None, ANN_TWIN).policy
    seen = torch.randn(64, 4)
    small = quantized(Acting(policy), [seen])
    outputs, in_int8 = (net(seen).detach().numpy() for net in (Acting(policy), small))
    assert 0 < np.abs(outputs - in_int8).max() < 0.05 * np.abs(outputs).max()


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
def test_twins_that_explore_with_state_dependent_noise_have_an_int8_twin(algorithm: Any) -> None:
    learner = LearnerConfig(algorithm, hyperparameters={"use_sde": True})
    policy = make_policy(learner, PolicyConfig(net_arch=(8,)).ann_twin(), make_control("Pendulum-v1"))
    seen = torch.randn(20, 3)
    assert quantized(Acting(policy), [seen])(seen).shape == (20, 1)


def test_every_group_names_shipped_configs() -> None:
    names = [name for group in control.GROUPS.values() for name in group]
    assert len(set(names)) == len(names) == 16
