"""``evaluate --engine loihi``: lives and classifiers on the chip, and networks that the chip cannot compute."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import only

from snn4.agent import kinds, runner
from snn4.agent.export.source import PolicySource, open_source
from snn4.agent.life.lived import NotLived

Cli = Callable[..., Any]


def run_of(config: Any, runs: Path) -> Path:
    runner.begin(kinds.named(config.kind), config, runs, quiet=True)
    return only(runs)


def command_in(message: str) -> list[str]:
    return shlex.split(message.partition("from these weights: snn4-agent ")[2])


@pytest.mark.parametrize("environment", [[], ["world.0.environment=Pendulum-v1", "evaluation.episodes=1"]])
def test_a_life(tiny: Callable[..., Any], tmp_path: Path, cli: Cli, environment: list[str]) -> None:
    config = tiny("world.0.steps=64", "policy.neuron={profile: loihi, v_threshold: 0.3}", *environment)
    folder = run_of(config, tmp_path)
    result = cli("evaluate", folder, "--engine", "loihi", "--episodes", "2", "--json")
    summary = json.loads(result.out)
    rows, agreement = summary["rows"], summary["agreement"]
    assert (summary["engine"], summary["bits"], summary["T"], summary["steps_per_decision"]) == ("loihi", 8, 2, 4)
    assert rows["loihi"]["episodes"] == rows["float"]["episodes"] == 2
    assert agreement["compared"] > 15
    assert agreement["decisions"] > 0.8
    assert list(agreement["spikes"]) == ["neurons0", "neurons1"]
    assert min(agreement["spikes"].values()) > 0.95
    assert rows["loihi"]["spikes_per_decision"] > 0


def test_a_classifier(digits: Callable[..., Any], tmp_path: Path, cli: Cli) -> None:
    config = digits("network.neuron={profile: loihi, v_threshold: 0.5}", "training.epochs=1", "ann_twin=false")
    folder = run_of(config, tmp_path)
    result = cli("evaluate", folder, "--engine", "loihi", "--bits", "6", "--json")
    summary = json.loads(result.out)
    rows, agreement = summary["rows"], summary["agreement"]
    assert abs(rows["loihi"]["top1_accuracy"] - rows["float"]["top1_accuracy"]) < 0.1
    assert rows["loihi"]["precision"] == "int6"
    assert agreement["compared"] == 359
    assert min(agreement["spikes"].values()) > 0.9
    table = cli("evaluate", folder, "--engine", "loihi").out
    assert "Loihi" in table
    assert "as in float, %: decisions" in table


def test_a_compressed_policy(tiny: Callable[..., Any], tmp_path: Path, cli: Cli) -> None:
    life = run_of(tiny("world.0.steps=64", "policy.neuron={profile: loihi, v_threshold: 0.3}"), tmp_path / "lives")
    runs = ("--no-recover", "episodes=2", "--runs-dir", tmp_path / "small", "-q")
    assert cli("compress", life, "--shrink", "0.5", *runs).status == 0
    result = cli("evaluate", only(tmp_path / "small"), "--engine", "loihi", "--json")
    rows = json.loads(result.out)["rows"]
    with pytest.raises(NotLived, match="task: got 'Acrobot', allowed is CartPole-v1"):
        open_source(str(only(tmp_path / "small")), "Acrobot")
    assert isinstance(open_source(str(only(tmp_path / "small")), "CartPole-v1"), PolicySource)
    assert rows["loihi"]["episodes"] == rows["float"]["episodes"] == 5, "as many as in the life's test"


def test_a_compressed_policy_with_a_soft_reset(tiny: Callable[..., Any], tmp_path: Path, cli: Cli) -> None:
    """Its weights were made for its neurons: no run goes on from them with others."""
    life = run_of(tiny("world.0.steps=64"), tmp_path / "lives")
    runs = ("--no-recover", "episodes=2", "--runs-dir", tmp_path / "small", "-q")
    assert cli("compress", life, "--shrink", "0.5", *runs).status == 0
    result = cli("evaluate", only(tmp_path / "small"), "--engine", "loihi")
    assert (result.status, "before its compression: train its life on" in result.err) == (2, True)


def test_a_soft_reset_is_refused_with_the_command_that_trains_it_off(
    tiny: Callable[..., Any], tmp_path: Path, cli: Cli
) -> None:
    folder = run_of(tiny("world.0.steps=64"), tmp_path)
    result = cli("evaluate", folder, "--engine", "loihi")
    assert result.status == 2
    assert "neurons0: got neurons with reset soft, allowed is hard; train with neuron: loihi" in result.err
    finetuned = cli(*command_in(result.err), "--runs-dir", tmp_path / "finetuned", "-q")
    assert finetuned.status == 0, finetuned.err
    assert cli("evaluate", only(tmp_path / "finetuned"), "--engine", "loihi", "--episodes", "1").status == 0


def test_so_is_a_classifier(trained: Path, converted: Path, tmp_path: Path, cli: Cli) -> None:
    result = cli("evaluate", trained, "--engine", "loihi")
    assert "got neurons with reset soft" in result.err
    runs = ("--runs-dir", tmp_path, "-q", "training.epochs=1", "ann_twin=false")
    finetuned = cli(*command_in(result.err), *runs)
    assert finetuned.status == 0, finetuned.err
    assert cli("evaluate", only(tmp_path), "--engine", "loihi").status == 0
    message = cli("evaluate", converted, "--engine", "loihi").err
    assert f"snn4-agent run CONFIG (a training on digits) network.neuron=loihi initial={converted}" in " ".join(
        message.split()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--engine", "gpu"), "--engine: got gpu, allowed is loihi"),
        (("--bits", "8"), "--bits: needs --engine loihi"),
        (("--engine", "loihi", "--steps", "3"), "--steps: not allowed with --engine loihi; allowed is --root"),
        (("--engine", "loihi", "--episodes", "3"), "--episodes: not allowed with --engine loihi; allowed is --root"),
    ],
)
def test_options_of_other_engines(trained: Path, cli: Cli, options: tuple[str, ...], message: str) -> None:
    result = cli("evaluate", trained, *options)
    assert (result.status, message in result.err) == (2, True), result.err
