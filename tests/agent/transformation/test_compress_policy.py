"""The command ``compress`` for the policies of lives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import only, read
from stable_baselines3 import PPO
from stories import Story

from snn4.agent import kinds, runner
from snn4.agent.command_configs import compression_of
from snn4.agent.run.events import Evaluated, Saved
from snn4.agent.run.work import OneProcess
from snn4.policies.sparse import SparseLinear

Cli = Callable[..., Any]
QUICK = ("episodes=3", "threads=1")


@pytest.fixture(scope="module")
def life(tiny: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A life that has learned a little, with normalised observations."""
    runs = tmp_path_factory.mktemp("lives")
    config = tiny("learner.normalize=true")
    runner.begin(kinds.named("life"), config, runs, quiet=True)
    return only(runs)


@pytest.fixture(scope="module")
def small(life: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its policy with half of the neurons, half of the synapses and four bits."""
    runs = tmp_path_factory.mktemp("small")
    given = {"compress.shrink": 0.5, "compress.prune": 0.5, "compress.bits": 4, "compress.steps": 256}
    runner.begin(*compression_of(str(life), given, QUICK), runs, quiet=True)
    return only(runs)


def test_it_is_an_agent_of_sb3(small: Path) -> None:
    model = PPO.load(small / "agent.zip")
    actor: Any = model.policy.mlp_extractor.policy_net
    assert [layer.out_features for layer in actor.layers[::2]] == [8, 8]
    for layer in (*actor.layers[::2], model.policy.action_net):
        rows = layer.weight.detach().abs()
        for row in rows:
            levels = row / row[row > 1e-30].min() if (row > 1e-30).any() else row
            assert len(torch.unique((levels * 100).round())) <= 8
    for layer in actor.layers[::2]:
        assert isinstance(layer, SparseLinear)
        assert float((layer.weight == 0).float().mean()) == pytest.approx(0.5, abs=0.02)


def test_the_table_says_what_it_saves(cli: Cli, small: Path) -> None:
    summary = read(small / "summary.json")
    before, after = (summary["comparison"][name] for name in ("before", "after"))
    assert before["synapses"] == 4 * 16 + 16 * 16 + 32
    assert 0.8 * (4 * 4 + 4 * 8 + 16) <= after["synapses"] <= 4 * 4 + 4 * 8 + 16  # few bits round some to 0
    assert (summary["part"], summary["recovered_steps"], before["episodes"]) == ("test", 256, 3)
    assert after["bytes"] < before["bytes"] / 4
    cli("report", small)
    page = (small / "report.html").read_text()
    for part in (
        "Before and after",
        "50% of the neurons of each hidden layer removed",
        "agreement",
        "Recovered for 256",
    ):
        assert part in page


def test_it_is_evaluated(cli: Cli, small: Path) -> None:
    """Its test episodes are those of the run."""
    after = read(small / "summary.json")["comparison"]["after"]
    tested = json.loads(cli("evaluate", small, "--json").out)
    assert tested["scores"]["network"] == {key: after[key] for key in tested["scores"]["network"]}
    assert "test episodes" in cli("evaluate", small, "--episodes", "1").out
    refused = cli("evaluate", small, "--steps", "3")
    assert (refused.status, "--steps: not allowed for a policy; allowed is --episodes" in refused.err) == (2, True)


def test_its_life_goes_on(cli: Cli, small: Path, life: Path, tmp_path: Path) -> None:
    """From its weights, with the statistics of its observations."""
    task = read(small / "normalization.json")["observation"]
    result = cli("run", small / "life.yaml", "world.0.steps=128", "--runs-dir", tmp_path)
    assert (result.status, result.err) == (0, "")
    config = kinds.load(only(tmp_path) / "config.yaml")[1]
    assert (config.policy.net_arch, config.policy.sparsity, config.policy.initial) == ((8, 8), 0.5, str(small))
    assert len(task["mean"]) == 4
    refused = cli("run", small / "life.yaml", "policy.T=3", "--runs-dir", tmp_path / "none")
    assert "was made for other neurons or synapses: policy.T: got 3, allowed is 2" in refused.err
    again = compression_of(str(only(tmp_path)), {"compress.bits": 8}, QUICK)
    assert again[0].prepare(again[1], OneProcess()).smaller.sparsity == 0.5  # type: ignore[attr-defined]


def test_a_stopped_recovery_goes_on(life: Path, tmp_path: Path) -> None:
    """To the same weights and validations as one that was not stopped."""

    def new() -> Any:
        given = {"compress.shrink": 0.5, "compress.bits": 2, "compress.steps": 64}
        kind, config = compression_of(str(life), given, ("episodes=1", "threads=1"))
        return kind.prepare(config, OneProcess())

    whole, stopped = Story(new(), tmp_path / "whole"), Story(new(), tmp_path / "stopped")
    expected = [event for event in whole.tell() if isinstance(event, Evaluated)]
    first = stopped.tell_until(lambda event: isinstance(event, Saved))
    again = Story(new(), tmp_path / "stopped")
    again.restore()
    rest = again.tell()
    got = [event for event in (*first, *rest) if isinstance(event, Evaluated)]
    assert [event for event in got if event.part == "validation"] == [e for e in expected if e.part == "validation"]
    own, theirs = (story.work.learner.policy.state_dict() for story in (whole, again))  # type: ignore[attr-defined]
    assert all(torch.equal(x, theirs[name]) for name, x in own.items())


@pytest.mark.parametrize("pattern", ["2:4", "1:2"])
def test_without_recovery(cli: Cli, life: Path, tmp_path: Path, pattern: str) -> None:
    arguments = ("--pattern", pattern, "--bits", "8", "--power-of-two", "--no-recover")
    result = cli("compress", life, *arguments, *QUICK, "--runs-dir", tmp_path)
    assert (result.status, result.err) == (0, "")
    assert "Without recovery." in result.out
    model = PPO.load(only(tmp_path) / "agent.zip")
    for layer in model.policy.mlp_extractor.policy_net.layers[::2]:
        groups = (layer.weight.abs() > 1e-30).unflatten(-1, (-1, int(pattern[2:]))).sum(-1)
        assert (groups <= int(pattern[0])).all()


@pytest.mark.slow
def test_a_policy_with_memory_only_without_recovery(cli: Cli, tiny: Callable[..., Any], tmp_path: Path) -> None:
    config = tiny("policy.state=carry", "policy.T=1", "world.0.steps=128")
    runner.begin(kinds.named("life"), config, tmp_path / "lives", quiet=True)
    life = only(tmp_path / "lives")
    arguments = ("compress", life, "--shrink", "0.5", "--bits", "8", *QUICK)
    refused = cli(*arguments, "--runs-dir", tmp_path / "none")
    assert (refused.status, "set compress.recover=false" in refused.err) == (2, True)
    assert cli(*arguments, "--no-recover", "--runs-dir", tmp_path / "small").status == 0
    going_on = cli("run", only(tmp_path / "small") / "life.yaml", "--runs-dir", tmp_path / "on")
    assert (going_on.status, going_on.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pattern", "1:3"], "pattern: got 1:3, but mlp_extractor.policy_net.layers.0 has 4 inputs"),
        (["--bits", "8", "--task", "Pong"], "task: got 'Pong', allowed are those that"),
        (["--bits", "8", "environment=CartPole-v1"], "environment: got CartPole-v1, allowed with compress is null"),
    ],
)
def test_bad_input(cli: Cli, life: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = cli("compress", life, *arguments, *QUICK, "--runs-dir", tmp_path / "runs")
    assert (result.status, result.out, len(result.err.splitlines())) == (2, "", 1), result.err
    assert message in result.err
    assert not (tmp_path / "runs").exists()


def test_a_life_that_has_learned_nothing(cli: Cli, life: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for name in ("config.yaml", "run.json"):
        (empty / name).write_text((life / name).read_text())
    result = cli("compress", empty, "--bits", "8", *QUICK, "--runs-dir", tmp_path / "runs")
    assert (result.status, "has no checkpoint yet" in result.err) == (2, True)


def test_what_cannot_be_compressed_in_this_way(cli: Cli, life: Path, small: Path, lived: Path, tmp_path: Path) -> None:
    for run, option, message in [
        (life, ("--epochs", "3"), f"{life}: --epochs: not allowed for a life; leave it out"),
        ("zoo:digits", ("--task", "x", "--steps", "9"), "zoo:digits: --steps, --task: not allowed for a training"),
        (small, (), f"{small}: holds a policy that was converted or compressed already"),
        (lived, (), f"{lived}: got a stream, allowed are a life, a training and a conversion"),
    ]:
        result = cli("compress", run, "--prune", "0.5", *option, "--runs-dir", tmp_path / "runs")
        assert (result.status, message in result.err) == (2, True), result.err
    assert not list(tmp_path.iterdir())
