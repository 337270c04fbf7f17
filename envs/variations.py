"""Drift of an environment: changed physics, noisy observations, lost sensors, noisy actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class BadVariation(ValueError):
    """The environment does not support the variation; the message begins with the field that is wrong."""


@dataclass(frozen=True)
class VariationConfig:
    """How an environment differs from the registered one."""

    physics: Mapping[str, float] = field(default_factory=dict)
    """Attributes of the unwrapped environment, by name: ``{gravity: 15.0}``. Attributes that the constructor derives
    from them (`FOLLOWING`) are computed again. ``wind_power`` also turns LunarLander's wind on."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on every observed value, in the unit of that value."""
    lost: tuple[int, ...] = ()
    """Sensors that read 0: indices of an observed vector, or channels of an image; counted from 0."""
    action_noise: float = 0.0
    """Discrete actions: probability that a random action replaces the chosen one. Continuous actions: standard
    deviation of Gaussian noise, as a fraction of half the range."""

    def __post_init__(self) -> None:
        for name in ("noise", "action_noise"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a finite number >= 0")
        for name, value in self.physics.items():
            if not np.isfinite(value):
                raise ValueError(f"physics: got {name} = {value}, allowed is a finite number")
        if any(sensor < 0 for sensor in self.lost):
            raise ValueError(f"lost: got {list(self.lost)}, allowed are places counted from 0")

    def __str__(self) -> str:
        """The differences in a few words; "" if there are none."""
        differences = [f"{name} {value:.10g}" for name, value in self.physics.items()]
        if self.noise:
            differences.append(f"noise {self.noise:.10g}")
        if self.lost:
            differences.append(f"without sensor {' '.join(map(str, self.lost))}")
        if self.action_noise:
            differences.append(f"action noise {self.action_noise:.10g}")
        return ", ".join(differences)


FOLLOWING: dict[str, tuple[tuple[str, ...], Callable[[Any], float]]] = {
    "total_mass": (("masspole", "masscart"), lambda env: env.masspole + env.masscart),
    "polemass_length": (("masspole", "length"), lambda env: env.masspole * env.length),
    "enable_wind": (("wind_power",), lambda env: bool(env.wind_power)),
}
"""Attributes that a constructor derives from others: their sources and the formula (CartPole, LunarLander)."""


class Varied(gym.Wrapper[Any, Any, Any, Any]):
    """``env`` with ``variation``.

    Noise has its own generator, seeded by `reset`, and leaves the environment's generator alone. Observations stay
    inside their space; images have channels first.

    Raises:
        BadVariation: for unknown attributes (the message lists the known ones), missing sensors and unsuitable spaces.
    """

    def __init__(self, env: gym.Env[Any, Any], variation: VariationConfig) -> None:
        super().__init__(env)
        self.variation, self._random = variation, np.random.default_rng()
        _check_spaces(self, variation)
        _set_physics(env.unwrapped, variation.physics)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment; a seed also fixes all noise from here on."""
        if seed is not None:
            self._random = np.random.default_rng([seed, 1])
        observation, info = self.env.reset(seed=seed, options=options)
        return self._observed(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment with a noisy action; the observation is noisy too."""
        observation, *rest = self.env.step(self._taken(action))
        return self._observed(observation), *rest  # type: ignore[return-value]

    def _observed(self, observation: NDArray[Any]) -> NDArray[Any]:
        space, noise = self.observation_space, self.variation.noise
        if noise:
            assert isinstance(space, spaces.Box)  # _check_spaces refuses others
            observation = observation + self._random.normal(0.0, noise, observation.shape)
            observation = observation.clip(space.low, space.high)
            if np.issubdtype(space.dtype, np.integer):
                observation = observation.round()  # truncation would darken images
            observation = observation.astype(space.dtype)
        if self.variation.lost:
            observation = np.array(observation)
            observation[list(self.variation.lost)] = 0
        return observation

    def _taken(self, action: Any) -> Any:
        space, noise = self.action_space, self.variation.action_noise
        if not noise:
            return action
        if isinstance(space, spaces.Discrete):
            slips = self._random.random() < noise
            return int(space.start + self._random.integers(space.n)) if slips else action
        assert isinstance(space, spaces.Box)  # _check_spaces refuses others
        slip = self._random.normal(0.0, noise, space.shape) * (space.high - space.low) / 2
        return (action + slip).clip(space.low, space.high).astype(space.dtype)


def _check_spaces(env: gym.Env[Any, Any], variation: VariationConfig) -> None:
    observations, actions = env.observation_space, env.action_space
    if (variation.noise or variation.lost) and not isinstance(observations, spaces.Box):
        key = "noise" if variation.noise else "lost"
        raise BadVariation(f"{key}: not allowed with {type(observations).__name__} observations; remove {key}")
    if variation.lost and max(variation.lost) >= observations.shape[0]:  # type: ignore[index]
        most = observations.shape[0] - 1  # type: ignore[index]
        raise BadVariation(f"lost: got {list(variation.lost)}, allowed are 0 to {most}")
    if variation.action_noise and not isinstance(actions, (spaces.Box, spaces.Discrete)):
        raise BadVariation(f"action_noise: not allowed with {type(actions).__name__} actions; remove action_noise")
    if variation.action_noise > 1 and isinstance(actions, spaces.Discrete):
        raise BadVariation(f"action_noise: got {variation.action_noise}, allowed for Discrete actions is 0 to 1")


def _set_physics(env: Any, physics: Mapping[str, float]) -> None:
    attributes = numbers(env)
    for name, value in physics.items():
        if name not in attributes:
            allowed = ", ".join(f"{known} ({number:g})" for known, number in attributes.items())
            raise BadVariation(f"physics: got {name!r}, allowed are {allowed or 'none: no attribute is a number'}")
        setattr(env, name, value)
    for name, (causes, computed) in FOLLOWING.items():
        if name in attributes and name not in physics and any(cause in physics for cause in causes):
            setattr(env, name, computed(env))


def numbers(env: Any) -> dict[str, float]:
    """Public numeric attributes of an environment and of its class, by name."""
    attributes = {name: getattr(type(env), name) for name in dir(type(env))} | vars(env)
    return {n: value for n, value in sorted(attributes.items()) if isinstance(value, Real) and not n.startswith("_")}  # type: ignore[misc]
