"""Image observations, with channels first for networks."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class ChannelsFirst(gym.ObservationWrapper[Any, Any, Any]):
    """Images (H, W, C) become (C, H, W); boolean ones become spikes, 0.0 and 1.0."""

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

    Images are a Box with three axes, of any type and bounds. Their shape shows where the channels are: an image is
    square, or has fewer channels than pixels on each side. So (84, 84, 4), (12, 16, 3) and (5, 5, 10) have channels
    last. A cube has channels last too, like Gymnasium's own images. All others, such as (4, 84, 84), are unchanged. If
    neither end can be channels, as in (12, 4, 10), an encoder refuses them. An encoder also refuses uint8 images of 0
    to 255 with more channels than pixels on a side, since SB3 takes their shortest axis for the channels and
    transposes them again.
    """
    space = env.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return env
    height, width, channels = space.shape
    return ChannelsFirst(env) if height == width or channels < min(height, width) else env
