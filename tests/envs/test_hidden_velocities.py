from __future__ import annotations

import importlib
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from snn4.envs import hidden_velocities as novel
from snn4.envs.control import make_control
from snn4.envs.hidden_velocities import NOVEL

NAMES: dict[str, tuple[int, ...]] = {
    "CartPoleNoVel-v1": (1, 3),  # position, velocity, angle, angular velocity
    "MountainCarNoVel-v0": (1,),  # position, velocity
    "MountainCarContinuousNoVel-v0": (1,),
    "PendulumNoVel-v1": (2,),  # cosine, sine, angular velocity
    "LunarLanderNoVel-v3": (2, 3, 5),  # x, y, their velocities, angle, its velocity, two legs
}


def base_of(name: str) -> str:
    return name.replace("NoVel", "")


def make(name: str, **kwargs: Any) -> gym.Env[Any, Any]:
    try:
        return gym.make(name, **kwargs)
    except gym.error.DependencyNotInstalled as error:
        pytest.skip(str(error))


def test_all_are_tested() -> None:
    assert set(NOVEL) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_only_velocities_are_hidden(name: str) -> None:
    hidden, base = make(name), make(base_of(name))
    assert hidden.observation_space == base.observation_space
    assert hidden.action_space == base.action_space
    entries = list(NAMES[name])
    visible = np.setdiff1d(np.arange(base.observation_space.shape[0]), entries)  # type: ignore[index]
    base.action_space.seed(0)
    moved = np.zeros(len(entries), bool)
    for seed in range(3):
        partial, full = hidden.reset(seed=seed)[0], base.reset(seed=seed)[0]
        over = False
        while not over:
            assert partial.dtype == full.dtype
            assert hidden.observation_space.contains(partial)
            assert not partial[entries].any()
            np.testing.assert_array_equal(partial[visible], full[visible])
            moved |= full[entries] != 0
            action = base.action_space.sample()
            (partial, *rest), (full, *expected) = hidden.step(action), base.step(action)
            assert rest[:3] == expected[:3]  # reward, terminated, truncated: also at the time limit
            over = rest[1] or rest[2]
    assert moved.all(), "what is hidden is not constant"


@pytest.mark.parametrize("name", ["CartPoleNoVel-v1", "PendulumNoVel-v1"])
def test_hidden_velocities_still_move(name: str) -> None:
    """The environment's own state is not touched."""
    env = make(name)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    state = np.array(env.unwrapped.state)  # type: ignore[attr-defined]
    assert state.all()


@pytest.mark.parametrize("name", NAMES)
def test_time_limits_are_those_of_the_base(name: str) -> None:
    spec = gym.spec(name)
    assert spec.max_episode_steps == gym.spec(base_of(name)).max_episode_steps
    assert spec.max_episode_steps is not None
    env, limits = make(name, max_episode_steps=7), 0
    wrapper: Any = env
    while wrapper is not env.unwrapped:
        limits += isinstance(wrapper, gym.wrappers.TimeLimit)
        wrapper = wrapper.env
    assert limits == 1
    env.reset(seed=0)
    assert [env.step(env.action_space.sample())[3] for _ in range(7)] == [False] * 6 + [True]


def test_arguments_reach_the_environment() -> None:
    assert make("PendulumNoVel-v1", g=3.0).unwrapped.g == 3.0  # type: ignore[attr-defined]
    assert make("MountainCarContinuousNoVel-v0", goal_velocity=0.01).unwrapped.goal_velocity == 0.01  # type: ignore[attr-defined]
    env = make_control("PendulumNoVel-v1", 2, {"g": 3.0, "max_episode_steps": 5})
    env.reset()
    for _ in range(4):
        assert not env.step(np.zeros((2, 1), np.float32))[2].any()
    assert env.step(np.zeros((2, 1), np.float32))[2].all()
    assert make("CartPoleNoVel-v1", render_mode="rgb_array").render_mode == "rgb_array"


def test_passes_gymnasiums_own_checker() -> None:
    env = make("CartPoleNoVel-v1")  # includes the checker, at the first step and reset
    env.reset(seed=0)
    env.step(0)
    vector = gym.make_vec("CartPoleNoVel-v1", 2, vectorization_mode="sync")
    observations, _ = vector.reset(seed=0)
    assert not observations[:, [1, 3]].any()


def test_registered_once() -> None:
    before = {name: gym.registry[name] for name in NOVEL}
    importlib.reload(novel)
    assert all(gym.registry[name] is spec for name, spec in before.items())
