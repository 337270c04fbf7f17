from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from snn4.envs.channels import ChannelsFirst, channels_first
from snn4.envs.control import UnknownEnvironment, make_control


class Pictures(gym.Env[Any, Any]):
    """Random observations from a given space."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space = space
        self.last: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.observation_space.seed(seed)
        self.last = self.observation_space.sample()
        return self.last, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.last = self.observation_space.sample()
        return self.last, 0.0, False, False, {}


BOOLEAN: Any = np.bool_
SPACES: dict[str, tuple[spaces.Space[Any], Any]] = {
    "colours, last": (spaces.Box(0, 255, (5, 7, 3), np.uint8), np.uint8),
    "real numbers": (spaces.Box(0, 1, (5, 7, 3)), np.float32),
    "zeros and ones": (spaces.Box(0, 1, (7, 8, 6), np.uint8), np.uint8),
    "shorts": (spaces.Box(0, 255, (7, 5, 3), np.int16), np.int16),
    "booleans": (spaces.Box(0, 1, (4, 4, 9), BOOLEAN), np.float32),
    "a square of many channels": (spaces.Box(0, 1, (5, 5, 10)), np.float32),
    "a cube": (spaces.Box(0, 1, (6, 6, 6), BOOLEAN), np.float32),
}


@pytest.mark.parametrize("kind", SPACES)
def test_the_last_axis_comes_first(kind: str) -> None:
    space, dtype = SPACES[kind]
    plain = Pictures(space)
    env, images = channels_first(plain), list[NDArray[Any]]()
    for take in (lambda: env.reset(seed=1), lambda: env.step(0)):
        images.append(take()[0])
        np.testing.assert_array_equal(images[-1], plain.last.transpose(2, 0, 1).astype(dtype))
    assert not np.array_equal(images[0], images[1])
    for image in images:
        assert image.dtype == env.observation_space.dtype == dtype
        assert image.flags.c_contiguous
        assert env.observation_space.contains(image)


def test_bounds_of_each_value_move_with_it() -> None:
    low = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    env = ChannelsFirst(Pictures(spaces.Box(low, low + 1)))
    box: Any = env.observation_space
    np.testing.assert_array_equal(box.low, low.transpose(2, 0, 1))
    np.testing.assert_array_equal(box.high, low.transpose(2, 0, 1) + 1)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (3, 5, 7), np.uint8),
        spaces.Box(0, 1, (3, 7, 7), BOOLEAN),
        spaces.Box(0, 1, (10, 5, 5)),
        spaces.Box(0, 1, (8, 3, 7)),
        spaces.Box(0, 255, (5, 7), np.uint8),
        spaces.Box(0, 1, (5,), BOOLEAN),
        spaces.Discrete(3),
    ],
    ids=["first", "booleans, first", "many channels, first", "neither end", "no channels", "a vector", "a number"],
)
def test_everything_else_stays(space: spaces.Space[Any]) -> None:
    env = Pictures(space)
    assert channels_first(env) is env


def games(env: VecEnv, seed: int, steps: int = 60) -> tuple[list[NDArray[Any]], int]:
    """Observations in games with random actions, and how many of the games end."""
    env.seed(seed)
    actions, ended = np.random.default_rng(seed), 0
    observations = [np.asarray(env.reset())]
    for _ in range(steps):
        observation, _, done, _ = env.step(actions.integers(0, 3, env.num_envs))
        observations.append(np.asarray(observation).copy())
        ended += int(done.sum())
    return observations, ended


def test_minatar_is_registered_when_it_is_wanted() -> None:
    pytest.importorskip("minatar")
    env = make_control("MinAtar/Breakout-v1", 3, {"max_episode_steps": 30})
    assert env.observation_space == spaces.Box(0, 1, (4, 10, 10), np.float32)
    assert env.action_space == spaces.Discrete(3)
    observations, ended = games(env, 0)
    assert set(np.unique(observations)) == {0, 1}
    assert ended >= 6, "the limit of steps holds"
    with pytest.raises(UnknownEnvironment, match=r"^got 'MinAtar/Brekout-v1', .*did you mean MinAtar/Breakout-v1"):
        make_control("MinAtar/Brekout-v1")


def test_a_seed_fixes_a_game_of_minatar_whatever_was_played_before() -> None:
    pytest.importorskip("minatar")
    env = make_control("MinAtar/Breakout-v1", 8)
    first, ended = games(env, 5)
    assert ended
    for action in (1, 2):  # the last actions before the same games
        env.step(np.full(8, action))
        np.testing.assert_array_equal(games(env, 5)[0], first)
    np.testing.assert_array_equal(games(make_control("MinAtar/Breakout-v1", 8), 5)[0], first)
    assert not np.array_equal(games(env, 6)[0], first)


@pytest.mark.parametrize(
    ("environment", "module", "extra"),
    [
        ("MinAtar/Asterix-v1", "minatar.gym", "minatar"),
        ("HalfCheetah-v5", "mujoco", "mujoco"),
        ("LunarLander-v3", "Box2D", "box2d"),
    ],
)
def test_what_an_environment_needs_is_named(
    environment: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in [name for name in sys.modules if name.startswith(("gymnasium.envs.mujoco", "gymnasium.envs.box2d"))]:
        monkeypatch.delitem(sys.modules, name)
    message = rf"^{environment} needs .*: pip install 'snn4-agent\[{extra}\]'$"
    with pytest.raises(UnknownEnvironment, match=message):
        make_control(environment)
