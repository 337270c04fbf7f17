"""Agents of stable-baselines3, trained here and converted: ``benchmarks/results/conversion/agents.json``.

    python -m snn4.benchmarks.agents --seeds 0 1 2 3 4
    python -m snn4.benchmarks.agents --environments CartPole-v1 --steps 4 8 --neurons signed_if if
    python -m snn4.benchmarks.agents --table

Each agent is trained once per seed and kept as ``<environment>-<seed>.zip`` in the folder of the runs; each conversion
plays 100 test episodes, the same as its agent.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.utils import LinearSchedule

from snn4.agent import command_configs, runner
from snn4.benchmarks.publishing import RESULTS, interval, publish
from snn4.benchmarks.tables.agents import cell_name
from snn4.benchmarks.tables.agents import table as table
from snn4.envs.control import make_control

PATH = RESULTS / "conversion" / "agents.json"


def _ppo(environment: str, seed: int, n_envs: int, **arguments: Any) -> BaseAlgorithm:
    return PPO("MlpPolicy", make_control(environment, n_envs), seed=seed, device="cpu", **arguments)


def _sac(environment: str, seed: int, noise: float = 0.0, **arguments: Any) -> BaseAlgorithm:
    mean = np.zeros(1)
    wander = OrnsteinUhlenbeckActionNoise(mean, noise * np.ones(1)) if noise else None
    kwargs = {"net_arch": [64, 64]}
    env = make_control(environment)
    return SAC("MlpPolicy", env, seed=seed, device="cpu", policy_kwargs=kwargs, action_noise=wander, **arguments)


AGENTS: dict[str, tuple[int, Callable[[int], BaseAlgorithm]]] = {
    "CartPole-v1": (
        60_000,
        lambda seed: _ppo(
            "CartPole-v1", seed, 8, n_steps=32, batch_size=256, gae_lambda=0.8, gamma=0.98, n_epochs=20, ent_coef=0.0,
            learning_rate=LinearSchedule(1e-3, 0, 1), clip_range=LinearSchedule(0.2, 0, 1),
        ),
    ),
    "Acrobot-v1": (200_000, lambda seed: _ppo("Acrobot-v1", seed, 16, n_steps=256, gae_lambda=0.94, n_epochs=4)),
    "LunarLander-v3": (
        400_000,
        lambda seed: _ppo(
            "LunarLander-v3", seed, 16, n_steps=1024, batch_size=64, gae_lambda=0.98, gamma=0.999, n_epochs=4,
            ent_coef=0.01,
        ),
    ),
    "Pendulum-v1": (15_000, lambda seed: _sac("Pendulum-v1", seed, learning_rate=1e-3)),
    "MountainCarContinuous-v0": (
        30_000,
        lambda seed: _sac(
            "MountainCarContinuous-v0", seed, noise=0.5, learning_rate=3e-4, batch_size=256, ent_coef=0.1,
            train_freq=32, gradient_steps=32, gamma=0.9999, tau=0.01, learning_starts=0,
        ),
    ),
}  # fmt: skip
"""Steps, and the algorithm with the hyperparameters of rl-baselines3-zoo for PPO; smaller networks for SAC."""


def main() -> None:
    """Train, convert and compare, or print the table."""
    parser = argparse.ArgumentParser(description="Converted agents in classic control.")
    parser.add_argument("--environments", nargs="+", default=list(AGENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, nargs="+", default=[8], help="inner steps T")
    parser.add_argument("--neurons", nargs="+", default=["signed_if"])
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/benchmarks/agents"))
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(PATH.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    arguments.runs_dir.mkdir(parents=True, exist_ok=True)
    rows = json.loads(PATH.read_text(encoding="utf-8"))["seeds"] if PATH.is_file() else []
    for environment in arguments.environments:
        for seed in arguments.seeds:
            agent = _trained(environment, seed, arguments.runs_dir)
            for T in arguments.steps:
                for neuron in arguments.neurons:
                    cell = {"environment": environment, "seed": seed, "T": T, "neuron": neuron}
                    if any(all(row[key] == value for key, value in cell.items()) for row in rows):
                        continue
                    rows.append({**cell, **_converted(agent, cell, arguments.runs_dir)})
                    print(json.dumps({**cell, "loss": rows[-1]["loss"]}), flush=True)
                    publish(PATH, "agents", "agents", rows, summary(rows))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The loss of each cell in percent of the return above chance, with its 95 % interval over seeds."""
    losses: dict[str, list[float]] = {}
    for row in rows:
        losses.setdefault(cell_name(row), []).append(100 * row["loss"])
    return {name: interval(values) for name, values in losses.items()}


def _trained(environment: str, seed: int, runs: Path) -> Path:
    path = runs / f"{environment}-{seed}.zip"
    if not path.is_file():
        steps, make = AGENTS[environment]
        model = make(seed)
        model.learn(steps)
        model.save(path)
    return path


def _converted(agent: Path, cell: dict[str, Any], runs: Path) -> dict[str, Any]:
    """What the summary of the conversion says."""
    given = {"environment": cell["environment"], "convert.T": cell["T"], "convert.neuron": cell["neuron"]}
    before = set(runs.iterdir())
    runner.begin(*command_configs.transformation_of(str(agent), given, ["threads=1"]), runs, quiet=True)
    (folder,) = (path for path in set(runs.iterdir()) - before if path.is_dir())
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    scores = {
        name: {key: x for key, x in score.items() if key != "layers"} for name, score in summary["scores"].items()
    }
    keys = ("algorithm", "chance", "loss", "pieces", "residual", "calibration_states", "layers")
    return {**{key: summary[key] for key in keys}, "scores": scores}


if __name__ == "__main__":
    main()
