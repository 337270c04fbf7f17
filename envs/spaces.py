"""Spaces of environments in the few forms in which stable-baselines3 sees and acts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim, flatten, flatten_space
from gymnasium.wrappers import TransformObservation
from stable_baselines3.common.preprocessing import is_image_space

_PLAIN = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
_NAMES = "Box, Discrete, MultiDiscrete, MultiBinary"


class UnfitSpace(ValueError):
    """No policy takes such observations or actions; the message follows "the environment has"."""


class PlainActions(gym.ActionWrapper[Any, Any, Any]):
    """Actions of a policy, which are vectors (n,) and numbers counted from 0, in the form that ``env`` takes.

    Numbers are shifted by the space's ``start``, vectors get its shape, and real ones are rounded for a Box of whole
    numbers.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.taken: Any = env.action_space
        self.action_space = _plain_actions(self.taken)

    def action(self, action: Any) -> Any:
        """An action of the policy's space as one of the environment's."""
        moved = np.reshape(action, self.taken.shape) + getattr(self.taken, "start", 0)
        real = np.issubdtype(self.taken.dtype, np.floating)
        return (moved if real else np.rint(moved)).astype(self.taken.dtype)


def plain_spaces(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """``env`` with spaces that stable-baselines3's policies take, whatever its own are.

    Observations become one vector (n,), float32, where they are a Dict, numbers that are not counted from 0, a table of
    numbers or a value without an axis. `gymnasium.spaces.utils.flatten` lays the vector out: numbers one-hot, the parts
    of a Dict in its order. Actions: see `PlainActions`. Spaces that fit stay as they are.

    Raises:
        UnfitSpace: for spaces of other kinds, images among other observations, and spaces without a value.
    """
    seen, taken = env.observation_space, env.action_space
    _require_observations(seen)
    _require_actions(taken)
    if not _fits(seen):
        flat: Any = flatten_space(seen)
        vector = spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)
        env = TransformObservation(env, lambda x: np.asarray(flatten(seen, x), np.float32), vector)
    return env if _plain_actions(taken) is taken else PlainActions(env)


def _fits(seen: spaces.Space[Any]) -> bool:
    """Whether SB3 preprocesses such observations rightly."""
    if isinstance(seen, spaces.Box):
        return seen.shape != ()
    if isinstance(seen, spaces.MultiDiscrete):
        return seen.nvec.ndim == 1 and not seen.start.any()
    return not isinstance(seen, spaces.Dict) and getattr(seen, "start", 0) == 0


def _plain_actions(space: Any) -> Any:
    """The space of the same actions as vectors, counted from 0; ``space`` itself if it is one."""
    if isinstance(space, spaces.Discrete):
        return space if space.start == 0 else spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        flat = space.nvec.ndim == 1 and not space.start.any()
        return space if flat else spaces.MultiDiscrete(space.nvec.ravel())
    if isinstance(space, spaces.MultiBinary):
        return space if len(space.shape) == 1 else spaces.MultiBinary(flatdim(space))
    if space.shape and np.issubdtype(space.dtype, np.floating):
        return space
    low, high = (np.atleast_1d(bound).astype(np.float32) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=np.float32)


def _require_observations(space: spaces.Space[Any]) -> None:
    for part in _parts(space):
        if not isinstance(part, _PLAIN):
            raise UnfitSpace(f"{type(part).__name__} observations, allowed are {_NAMES} and Dict of these")
        if part is not space and is_image_space(part):
            raise UnfitSpace(
                f"images {part.shape} in a Dict, allowed are images alone or a Dict without any; choose the parts with "
                f"gymnasium.wrappers.FilterObservation"
            )
    if not flatdim(space):
        raise UnfitSpace(f"empty observations {space}, allowed are one value or more")


def _require_actions(space: spaces.Space[Any]) -> None:
    if not isinstance(space, _PLAIN):
        raise UnfitSpace(
            f"{type(space).__name__} actions, allowed are {_NAMES}; change them with gymnasium.wrappers.TransformAction"
        )
    if not flatdim(space):
        raise UnfitSpace(f"empty actions {space}, allowed are one value or more")


def _parts(space: spaces.Space[Any]) -> Iterator[spaces.Space[Any]]:
    """Spaces in a Dict, and in Dicts inside of it."""
    if isinstance(space, spaces.Dict):
        for part in space.values():
            yield from _parts(part)
    else:
        yield space
