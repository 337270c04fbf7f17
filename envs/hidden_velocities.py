"""Classic control with hidden velocities: ``CartPoleNoVel-v1`` and its like, which require a memory.

The entries of the observation that are velocities read 0, as in rl-zoo's benchmarks of recurrent policies.
Importing this module registers the environments with Gymnasium.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

NOVEL = {
    "CartPoleNoVel-v1": ("CartPole-v1", (1, 3)),
    "MountainCarNoVel-v0": ("MountainCar-v0", (1,)),
    "MountainCarContinuousNoVel-v0": ("MountainCarContinuous-v0", (1,)),
    "PendulumNoVel-v1": ("Pendulum-v1", (2,)),
    "LunarLanderNoVel-v3": ("LunarLander-v3", (2, 3, 5)),
}
"""Each environment, its original, and the hidden entries."""


class HideEntries(gym.ObservationWrapper[Any, Any, Any]):
    """Observations (n,) with the given entries set to 0."""

    def __init__(self, env: gym.Env[Any, Any], entries: Sequence[int]) -> None:
        super().__init__(env)
        self.entries = list(entries)

    def observation(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The observation with hidden entries set to 0."""
        visible = np.array(observation)
        visible[self.entries] = 0
        return visible


def make_novel(base: str, entries: Sequence[int], **kwargs: Any) -> gym.Env[Any, Any]:
    """``base`` with hidden ``entries``; the registration adds wrappers for time limit, order of calls and checks."""
    return HideEntries(gym.make(base, disable_env_checker=True, **kwargs).unwrapped, entries)


for _name, (_base, _entries) in NOVEL.items():
    if _name not in gym.registry:
        gym.register(
            _name,
            "snn4.envs.hidden_velocities:make_novel",
            max_episode_steps=gym.spec(_base).max_episode_steps,
            kwargs={"base": _base, "entries": _entries},
        )
