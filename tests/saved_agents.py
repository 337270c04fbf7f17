"""Agents that stable-baselines3 itself saved, untrained, and an environment of images."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from torch import nn


class Drawn(gym.Env[Any, Any]):
    """Images of noise."""

    observation_space = gym.spaces.Box(0, 255, (36, 36, 3), np.uint8)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


class Doubles(Drawn):
    """Vectors in float64, as MuJoCo's."""

    observation_space: Any = gym.spaces.Box(-2, 2, (5,), np.float64)


SMALL: dict[str, Any] = {"learning_starts": 0, "buffer_size": 10, "seed": 0, "device": "cpu"}
ON: dict[str, Any] = {"seed": 0, "device": "cpu"}
AGENTS: dict[str, Any] = {
    "PPO": lambda: PPO("MlpPolicy", "CartPole-v1", **ON),
    "PPO, Box": lambda: PPO("MlpPolicy", "Pendulum-v1", use_sde=True, **ON),
    "PPO, Discrete": lambda: PPO("MlpPolicy", "CliffWalking-v1", **ON),
    "PPO, linear": lambda: PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": []}, **ON),
    "PPO, images": lambda: PPO("CnnPolicy", Drawn(), n_steps=64, **ON),
    "PPO, flat images": lambda: PPO("MlpPolicy", Drawn(), n_steps=64, **ON),
    "PPO, doubles": lambda: PPO("MlpPolicy", Doubles(), n_steps=64, **ON),
    "A2C": lambda: A2C(
        "MlpPolicy", "CartPole-v1", policy_kwargs={"activation_fn": nn.ELU, "net_arch": {"pi": [8], "vf": [7, 5]}}, **ON
    ),
    "DQN": lambda: DQN("MlpPolicy", "CartPole-v1", **SMALL),
    "DQN, images": lambda: DQN("CnnPolicy", Drawn(), policy_kwargs={"net_arch": [16]}, **SMALL),
    "SAC": lambda: SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [32, 16]}, **SMALL),
    "SAC, gSDE": lambda: SAC("MlpPolicy", "Pendulum-v1", use_sde=True, **SMALL),
    "TD3": lambda: TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": {"pi": [9], "qf": [8, 7]}}, **SMALL),
}
"""By algorithm and what is special."""


def save(name: str, folder: Path) -> tuple[Any, Path]:
    """The agent called ``name``, with a head that is not near 0, and its file."""
    model = AGENTS[name]()
    for parameter in model.policy.parameters():
        parameter.data.mul_(3.0)
    path = folder / "agent.zip"
    model.save(path)
    return model, path


def changed(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy of a zip with parts changed, or left out where ``change`` gives None."""
    copy = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(copy, "w") as after:
        for name in before.namelist():
            if (content := change(name, before.read(name))) is not None:
                after.writestr(name, content)
    return copy
