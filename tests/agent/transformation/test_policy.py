"""The command convert, for agents of stable-baselines3."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import only
from stable_baselines3 import PPO
from torch import nn

from snn4.envs.control import make_control

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small agent that has learned for a second."""
    path = tmp_path_factory.mktemp("agents") / "pole.zip"
    kwargs = {"net_arch": [16, 16], "activation_fn": nn.ReLU}
    model = PPO("MlpPolicy", make_control("CartPole-v1", 4), n_steps=64, seed=0, policy_kwargs=kwargs)
    model.learn(1024)
    model.save(path)
    return path


def convert(cli: Cli, agent: Path, runs: Path, *more: str) -> Any:
    return cli("convert", str(agent), *more, "episodes=4", "convert.images=64", "--runs-dir", str(runs))


def test_an_agent_is_converted_compared_and_saved(agent: Path, tmp_path: Path, cli: Cli) -> None:
    result = convert(cli, agent, tmp_path, "--environment", "CartPole-v1", "--steps", "4")
    assert result.status == 0, result.err
    assert "the conversion loses" in result.out
    folder = only(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["algorithm"] == "PPO"
    assert summary["scores"]["network"]["episodes"] == summary["scores"]["ann_twin"]["episodes"] == 4
    assert summary["calibration_states"] >= 64
    assert "The same test episodes" in (folder / "report.html").read_text()
    loaded = PPO.load(folder / "agent.zip")
    assert loaded.policy.spiking["T"] == 4
    assert loaded.policy.spiking["neuron"].kind == "signed_if"
    assert cli("report", str(folder)).status == 0
    assert cli("world", str(folder)).status == 0
    tested = json.loads(cli("evaluate", str(folder), "--json").out)["scores"]
    assert tested["network"] == {key: summary["scores"]["network"][key] for key in tested["network"]}


def test_a_life_goes_on_from_a_converted_agent(agent: Path, tmp_path: Path, cli: Cli) -> None:
    assert convert(cli, agent, tmp_path / "converted", "--environment", "CartPole-v1", "--steps", "4").status == 0
    folder = only(tmp_path / "converted")
    life = {
        "name": "goes-on", "kind": "life", "world": [{"environment": "CartPole-v1", "steps": 64}],
        "policy": {
            "net_arch": [16, 16], "T": 4, "initial": str(folder), "neuron": {"kind": "signed_if", "v_leak": 0.5},
        },
        "learner": {"n_envs": 4, "hyperparameters": {"n_steps": 16, "batch_size": 64}},
        "evaluation": {"every": 64, "episodes": 2, "test_episodes": 2},
    }  # fmt: skip
    config = tmp_path / "life.yaml"
    config.write_text(json.dumps(life))
    assert cli("run", str(config), "--runs-dir", str(tmp_path / "runs")).status == 0
    refused = cli("run", str(config), "policy.T=2", "--runs-dir", str(tmp_path / "refused"))
    assert refused.status == 2
    assert "policy.T: got 2, allowed is 4" in refused.err
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "environment: got None, allowed for a .zip of stable-baselines3 is a Gymnasium id"),
        (("--environment", "Acrobot-v1"), "got observation_space Box"),
        (("--environment", "CartPole-v9"), "did you mean CartPole-v1"),
        (("--environment", "CartPole-v1", "--method", "qcfs"), "convert.method: got qcfs, allowed for an agent are"),
    ],
)
def test_bad_input_leaves_nothing(agent: Path, tmp_path: Path, cli: Cli, more: tuple[str, ...], message: str) -> None:
    result = convert(cli, agent, tmp_path / "runs", *more)
    assert result.status == 2
    assert message in " ".join(result.err.split())
    assert not (tmp_path / "runs").exists()


def test_a_damaged_agent_is_refused(agent: Path, tmp_path: Path, cli: Cli) -> None:
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(agent) as before, zipfile.ZipFile(damaged, "w") as after:
        for name in before.namelist():
            after.writestr(name, before.read(name) if name == "data" else b"no tensors")
    result = convert(cli, damaged, tmp_path / "runs", "--environment", "CartPole-v1")
    assert result.status == 2
    assert "damaged.zip" in result.err
    assert not (tmp_path / "runs").exists()
