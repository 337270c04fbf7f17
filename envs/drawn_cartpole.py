"""CartPole from pixels: ``CartPolePixels-v1`` observes drawings of the cart and its pole.

This module draws the images from the state, without Gymnasium's rendering: the same scene at the same scale, cropped
to the strip that moves, without pygame and in about a hundredth of its time. Importing this module registers the
environment with Gymnasium.
"""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Floats = NDArray[np.float32]

WIDTH_METRES = 4.8
"""Width of the image, metres; episodes end when the cart's centre leaves it."""
CART = (0.2, 0.12)
"""Half width and half height of the cart, metres; the track runs through its centre."""
AXLE = 0.06
"""Height of the axle above the track, metres."""
POLE_LENGTH = 1.0
"""Metres."""
POLE_HALF_WIDTH = 0.04
"""Metres."""


class DrawnCartPole(gym.ObservationWrapper[Any, Any, Any]):
    """CartPole whose observation is a drawing (height, width), uint8."""

    def __init__(self, env: gym.Env[Any, Any], height: int = 24, width: int = 60) -> None:
        for name, side in (("height", height), ("width", width)):
            if side < 8:
                raise ValueError(f"{name}: got {side}, allowed is a whole number of pixels >= 8")
        super().__init__(env)
        self.size = height, width
        self.observation_space = spaces.Box(0, 255, self.size, np.uint8)

    def observation(self, observation: NDArray[Any]) -> NDArray[np.uint8]:
        """The state as a drawing."""
        return draw_cartpole(float(observation[0]), float(observation[2]), *self.size)


def draw_cartpole(position: float, angle: float, height: int, width: int) -> NDArray[np.uint8]:
    """A drawing (height, width) of the cart, at ``position`` metres, and its pole, at ``angle`` radians from upright.

    The brightness of a pixel on an edge is the fraction of it that is covered, so that moves below a pixel are visible.
    """
    x, y, pixels = _grid(height, width)
    x = x - np.float32(position)
    cart = _inside(CART[0] - np.abs(x), pixels) * _inside(CART[1] - np.abs(y), pixels)
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    along, across = x * sine + (y - AXLE) * cosine, x * cosine - (y - AXLE) * sine
    beyond = np.maximum(np.maximum(-along, along - POLE_LENGTH), 0)
    pole = _inside(POLE_HALF_WIDTH - np.hypot(across, beyond), pixels)
    return (np.maximum(cart * 0.5, pole) * 255).astype(np.uint8)


@functools.cache
def _grid(height: int, width: int) -> tuple[Floats, Floats, float]:
    """Centres of the pixels in metres, right (1, width) and up (height, 1) from the track's middle; pixels per metre.

    The strip begins a little below the cart and shows the pole up to the top of the image.
    """
    pixels = width / WIDTH_METRES
    x = (np.arange(width, dtype=np.float32) + 0.5) / pixels - WIDTH_METRES / 2
    y = (height - 0.5 - np.arange(height, dtype=np.float32)) / pixels - 0.2
    return x[None], y[:, None].astype(np.float32), pixels


def _inside(depth: Any, pixels: float) -> Any:
    """The covered fraction of a pixel whose centre is ``depth`` metres inside an edge."""
    return np.clip(depth * pixels + 0.5, 0, 1)


def make_cartpole_pixels(height: int = 24, width: int = 60, frames: int = 4, **kwargs: Any) -> gym.Env[Any, Any]:
    """CartPole with the last ``frames`` drawings (frames, height, width) as its observation, the newest last.

    At the start of an episode, all of them are the first drawing.

    Raises:
        ValueError: naming the argument that is too small or too large.
    """
    if not 1 <= frames <= min(height, width):  # stable-baselines3 takes the shortest axis of an image for its channels
        raise ValueError(f"frames: got {frames}, allowed are 1 … {min(height, width)}, the shorter side of a drawing")
    cartpole = gym.make("CartPole-v1", disable_env_checker=True, **kwargs).unwrapped
    return gym.wrappers.FrameStackObservation(DrawnCartPole(cartpole, height, width), frames)


if "CartPolePixels-v1" not in gym.registry:
    gym.register(
        "CartPolePixels-v1",
        "snn4.envs.drawn_cartpole:make_cartpole_pixels",
        max_episode_steps=gym.spec("CartPole-v1").max_episode_steps,
    )
