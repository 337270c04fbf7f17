from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env

import snn4.envs.drawn_cartpole
from snn4.envs.control import UnknownEnvironment, make_control
from snn4.envs.drawn_cartpole import AXLE, CART, POLE_HALF_WIDTH, POLE_LENGTH, WIDTH_METRES, draw_cartpole


def brightness(x: float, y: float, position: float, angle: float) -> float:
    """The brightness of one point, x metres right of the track's middle and y metres above it."""
    tip = (position + POLE_LENGTH * math.sin(angle), AXLE + POLE_LENGTH * math.cos(angle))
    along = ((x - position) * (tip[0] - position) + (y - AXLE) * (tip[1] - AXLE)) / POLE_LENGTH**2
    nearest = min(max(along, 0), 1)
    to_pole = math.dist((x, y), (position + nearest * (tip[0] - position), AXLE + nearest * (tip[1] - AXLE)))
    if to_pole <= POLE_HALF_WIDTH:
        return 255.0
    return 127.5 if abs(x - position) <= CART[0] and abs(y) <= CART[1] else 0.0


def sampled(position: float, angle: float, height: int, width: int, n: int = 4) -> NDArray[np.float64]:
    """The drawing by brute force: the mean over n x n points in each pixel."""
    side = WIDTH_METRES / width
    points = (np.arange(n) + 0.5) / n
    image = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            xs, ys = (column + points) * side - WIDTH_METRES / 2, (height - row - points) * side - 0.2
            image[row, column] = np.mean([brightness(x, y, position, angle) for x in xs for y in ys])
    return image


@pytest.mark.parametrize(("position", "angle"), [(0.0, 0.0), (0.731, 0.2), (-1.3, -0.15), (2.4, 0.05)])
def test_a_drawing_is_the_scene_sampled_point_by_point(position: float, angle: float) -> None:
    drawn, expected = draw_cartpole(position, angle, 24, 60).astype(float), sampled(position, angle, 24, 60)
    # Coverage is exact for straight edges along the axes; at corners and on slopes it is off by a part of one pixel.
    assert np.abs(drawn - expected).max() < 75
    assert np.abs(drawn - expected).mean() < 1.2
    assert drawn.sum() == pytest.approx(expected.sum(), rel=0.05)


def test_what_a_drawing_shows() -> None:
    upright, mirrored = draw_cartpole(0.5, 0.1, 24, 60), draw_cartpole(-0.5, -0.1, 24, 60)
    np.testing.assert_array_equal(upright, mirrored[:, ::-1])
    assert upright.dtype == np.uint8
    assert set(np.unique(draw_cartpole(0, 0, 240, 600))) >= {0, 127, 255}
    columns = np.arange(60)
    lean = [(row * columns).sum() / row.sum() for row in draw_cartpole(0, 0.2, 24, 60)[8:18].astype(float)]
    assert lean == sorted(lean, reverse=True), (
        "a pole with a positive angle leans to the right: the higher the row, the further"
    )
    assert not np.array_equal(draw_cartpole(0.5, 0.1, 24, 60), draw_cartpole(0.503, 0.1, 24, 60)), "3 mm must show"


def test_observations_are_the_last_drawings_of_the_same_episode() -> None:
    pixels, plain = gym.make("CartPolePixels-v1"), gym.make("CartPole-v1")
    image, state = pixels.reset(seed=3)[0], plain.reset(seed=3)[0]
    frames = [draw_cartpole(state[0], state[2], 24, 60)] * 4
    np.testing.assert_array_equal(image, frames)
    for step in range(500):
        image, reward, *ended, _ = pixels.step(step // 2 % 2)
        state, expected, *as_expected, _ = plain.step(step // 2 % 2)
        frames = [*frames[1:], draw_cartpole(state[0], state[2], 24, 60)]
        np.testing.assert_array_equal(image, frames)
        assert (reward, ended) == (expected, as_expected)
        if any(ended):
            break
    assert step > 5


def test_a_world_of_drawings() -> None:
    assert gym.spec("CartPolePixels-v1").max_episode_steps == 500
    env = make_control("CartPolePixels-v1", 2, {"height": 16, "width": 40, "frames": 3, "sutton_barto_reward": True})
    assert env.observation_space == gym.spaces.Box(0, 255, (3, 16, 40), np.uint8)
    assert np.asarray(env.reset()).shape == (2, 3, 16, 40)
    assert env.step(np.zeros(2, int))[1].tolist() == [0, 0], "arguments reach CartPole"
    check_env(gym.make("CartPolePixels-v1", frames=2).unwrapped, warn=False)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"height": 4}, "height: got 4, allowed is a whole number of pixels >= 8"),
        ({"width": 7}, "width: got 7, allowed is a whole number of pixels >= 8"),
        ({"frames": 0}, "frames: got 0, allowed are 1 … 24"),
        ({"frames": 25}, "frames: got 25, allowed are 1 … 24"),
    ],
)
def test_sizes_that_cannot_be_drawn(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        snn4.envs.drawn_cartpole.make_cartpole_pixels(**kwargs)
    with pytest.raises(UnknownEnvironment, match="CartPolePixels-v1 cannot be made with .*" + message):
        make_control("CartPolePixels-v1", 1, kwargs)
