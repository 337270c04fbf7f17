"""Spaces of environments, in the few forms that stable-baselines3 supports."""

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
    """No policy supports the observations or actions; the message follows "the environment has"."""


class PlainActions(gym.ActionWrapper[Any, Any, Any]):
    """Actions of a policy, vectors (n,) and numbers counted from 0, converted to the actions of ``env``.

    Numbers are shifted by the space's ``start``, vectors take its shape, and real vectors are rounded for a Box of
    whole numbers.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.original: Any = env.action_space
        self.action_space = _plain_actions(self.original)

    def action(self, action: Any) -> Any:
        """The environment's action for an action of the policy."""
        shifted = np.reshape(action, self.original.shape) + getattr(self.original, "start", 0)
        real = np.issubdtype(self.original.dtype, np.floating)
        return (shifted if real else np.rint(shifted)).astype(self.original.dtype)


def plain_spaces(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """``env`` with spaces that stable-baselines3's policies support.

    Observations become one vector (n,), float32, if they are a Dict, numbers not counted from 0, a table of numbers, or
    a value without an axis. `gymnasium.spaces.utils.flatten` makes the vector: numbers become one-hot, and the parts of
    a Dict keep their order. For actions, see `PlainActions`. Suitable spaces do not change.

    Raises:
        UnfitSpace: for spaces of other kinds, images among other observations, and empty spaces.
    """
    observations, actions = env.observation_space, env.action_space
    _require_observations(observations)
    _require_actions(actions)
    if not _fits(observations):
        flat: Any = flatten_space(observations)
        vector = spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)
        env = TransformObservation(env, lambda x: np.asarray(flatten(observations, x), np.float32), vector)
    return env if _plain_actions(actions) is actions else PlainActions(env)


def _fits(space: spaces.Space[Any]) -> bool:
    """Whether SB3 preprocesses such observations correctly."""
    if isinstance(space, spaces.Box):
        return space.shape != ()
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ndim == 1 and not space.start.any()
    return not isinstance(space, spaces.Dict) and getattr(space, "start", 0) == 0


def _plain_actions(space: Any) -> Any:
    """The space of the same actions as vectors, counted from 0; ``space`` itself if it already is one."""
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
                f"images {part.shape} in a Dict, allowed are images alone or a Dict without images; choose parts with "
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
    """Spaces in a Dict and in nested Dicts."""
    if isinstance(space, spaces.Dict):
        for part in space.values():
            yield from _parts(part)
    else:
        yield space
