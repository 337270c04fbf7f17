"""Observations that are images, in the form in which networks take them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first


class ChannelsFirst(gym.ObservationWrapper[Any, Any, Any]):
    """Images (H, W, C) become (C, H, W); boolean ones become 0.0 and 1.0, which is to say spikes."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        space: Any = env.observation_space
        self.dtype = np.dtype(np.float32) if space.dtype == np.bool_ else space.dtype
        low, high = (np.moveaxis(bound, -1, 0).astype(self.dtype) for bound in (space.low, space.high))
        self.observation_space = spaces.Box(low, high, dtype=self.dtype.type)

    def observation(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The observation with its last axis first."""
        return np.ascontiguousarray(np.moveaxis(observation, -1, 0), self.dtype)


def channels_first(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """``env`` with `ChannelsFirst`, if it observes images with channels last.

    Those are uint8 images whose last axis is the shortest, as stable-baselines3 tells them, and boolean ones.
    """
    space = env.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return env
    last = space.dtype == np.bool_ or (is_image_space(space) and not is_image_space_channels_first(space))
    return ChannelsFirst(env) if last else env
