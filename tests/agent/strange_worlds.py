"""Environments that misbehave, made as ``strange_worlds:NotANumber-v0``: Gymnasium imports this module by itself."""

from __future__ import annotations

import os
import signal
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv


class NotANumber(CartPoleEnv):
    """CartPole with a broken velocity sensor: NaN from step ``after`` of every episode on."""

    def __init__(self, after: int = 100, from_seed: int = 0, until_seed: int = 2**32) -> None:
        super().__init__()
        self.after = after
        self.seeds = range(from_seed, until_seed)
        self.steps = 0
        self.last_seed = 0

    def reset(self, **kwargs: Any) -> Any:
        self.steps = 0
        self.last_seed = self.last_seed if kwargs.get("seed") is None else kwargs["seed"]
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        observation, *rest = super().step(action)
        self.steps += 1
        if self.steps > self.after and self.last_seed in self.seeds:
            observation = observation * np.array([1, np.nan, 1, 1], observation.dtype)
        return observation, *rest


class Interrupting(CartPoleEnv):
    """CartPole that presses Ctrl-C when an episode begins that was given a seed of ``from_seed`` or more."""

    pressed: ClassVar[bool] = False

    def __init__(self, from_seed: int) -> None:
        super().__init__()
        self.from_seed = from_seed

    def reset(self, **kwargs: Any) -> Any:
        if (kwargs.get("seed") or 0) in range(self.from_seed, self.from_seed + 1000) and not Interrupting.pressed:
            Interrupting.pressed = True
            os.kill(os.getpid(), signal.SIGINT)
        return super().reset(**kwargs)


class Diary(CartPoleEnv):
    """CartPole that writes down every seed it is given."""

    seeds: ClassVar[list[int]] = []

    def reset(self, **kwargs: Any) -> Any:
        if kwargs.get("seed") is not None:
            self.seeds.append(kwargs["seed"])
        return super().reset(**kwargs)


gym.register("Diary-v0", Diary, max_episode_steps=500)
gym.register("NotANumber-v0", NotANumber, max_episode_steps=500)
gym.register("Interrupting-v0", Interrupting, max_episode_steps=500)
