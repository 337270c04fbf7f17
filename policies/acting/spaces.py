"""Spaces that stable-baselines3 mishandles: it counts from 0, whatever their start, and expects vectors."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces


def require_plain(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    """Refuse spaces that SB3 accepts, but with which it learns other actions than those taken, or fails at once.

    Raises:
        ValueError: for discrete values that do not start at 0, for MultiDiscrete with more than one axis, and for
            observations without an axis.
    """
    parts = observation_space.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
    named = [("observation_space", part) for part in parts]
    for name, space in [*named, ("action_space", action_space)]:
        if allowed := _allowed(space, is_observation=name == "observation_space"):
            got = " ".join(str(space).split())
            raise ValueError(
                f"{name}: got {got}, allowed is {allowed}; wrap the environment with snn4.envs.spaces.plain_spaces"
            )


def _allowed(space: spaces.Space[Any], is_observation: bool) -> str:
    """The requirement that ``space`` does not meet; "" if it is allowed."""
    if isinstance(space, spaces.Discrete) and space.start != 0:
        return "start=0"
    if isinstance(space, spaces.MultiDiscrete):
        return "one axis" if space.nvec.ndim != 1 else "start=0" if space.start.any() else ""
    return "one axis or more" if is_observation and isinstance(space, spaces.Box) and space.shape == () else ""
