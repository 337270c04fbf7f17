from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecEnv

from snn4.envs.control import UnknownEnvironment, make_control


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CartPole-v9", "did you mean CartPole-v1"),
        ("Cartpole-v1", "did you mean CartPole-v1"),
        ("zzz", r"gymnasium.pprint_registry\(\) lists"),
        ("", r"gymnasium.pprint_registry\(\) lists"),
    ],
)
def test_unknown_name(name: str, hint: str) -> None:
    with pytest.raises(UnknownEnvironment, match=f"^got '{name}', allowed is a registered .*; .*{hint}"):
        make_control(name)


def test_argument_that_the_environment_does_not_take() -> None:
    with pytest.raises(UnknownEnvironment, match=r"^CartPole-v1 cannot be made with \{'wind': 3\}: .*'wind'"):
        make_control("CartPole-v1", kwargs={"wind": 3})


def test_missing_package_is_named(register: Any) -> None:
    def maker(**kwargs: Any) -> gym.Env[Any, Any]:
        raise gym.error.DependencyNotInstalled("run `pip install simulator`")

    register(maker)
    with pytest.raises(UnknownEnvironment, match=r"^Test-v0 needs a package that is not installed: .*simulator"):
        make_control("Test-v0")


def test_missing_module_is_named(register: Any) -> None:
    """As tabular/CliffWalking-v0 does where jax is missing."""

    def maker(**kwargs: Any) -> gym.Env[Any, Any]:
        raise ModuleNotFoundError("No module named 'simulator'")

    register(maker)
    with pytest.raises(UnknownEnvironment, match=r"^Test-v0 needs a package that is not installed: .*simulator"):
        make_control("Test-v0")
    with pytest.raises(UnknownEnvironment, match=r"^no_such_module:A-v0 needs a package .*: .*no_such_module"):
        make_control("no_such_module:A-v0")


@pytest.mark.parametrize("error", [ValueError, AssertionError, KeyError])
def test_value_that_the_environment_does_not_take(register: Any, error: type[Exception]) -> None:
    """As LunarLander-v3 does with gravity -20, or FrozenLake-v1 with an unknown map."""

    def maker(**kwargs: Any) -> gym.Env[Any, Any]:
        raise error("gravity must be between -12 and 0")

    register(maker)
    with pytest.raises(UnknownEnvironment, match=r"^Test-v0 cannot be made with \{'gravity': -20\}: .*between"):
        make_control("Test-v0", kwargs={"gravity": -20})


def test_an_error_without_words_is_named(register: Any) -> None:
    def maker(**kwargs: Any) -> gym.Env[Any, Any]:
        raise NotImplementedError

    register(maker)
    with pytest.raises(UnknownEnvironment, match=r"^Test-v0 cannot be made: NotImplementedError\(\)$"):
        make_control("Test-v0")


def episodes(env: VecEnv, seed: int, steps: int = 60) -> tuple[list[np.ndarray[Any, Any]], list[dict[str, Any]]]:
    env.seed(seed)
    observations, ended = [np.asarray(env.reset())], []
    for step in range(steps):
        observation, _, _, infos = env.step(np.full(env.num_envs, step // 3 % 2))
        observations.append(np.asarray(observation).copy())
        ended += [info["episode"] for info in infos if "episode" in info]
    return observations, ended


def test_a_seed_fixes_the_episodes() -> None:
    env = make_control("CartPole-v1", 3)
    assert env.num_envs == 3
    first, ended = episodes(env, 5)
    for again in (episodes(env, 5)[0], episodes(make_control("CartPole-v1", 3), 5)[0]):
        np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, episodes(env, 6)[0])
    assert len(np.unique(first[0], axis=0)) == 3, "copies must differ"
    assert ended
    assert all(episode["r"] == episode["l"] for episode in ended), "CartPole pays 1 per step"


def test_same_episodes_as_gymnasium_itself() -> None:
    observations, _ = episodes(make_control("CartPole-v1"), 7, steps=8)
    plain = gym.make("CartPole-v1")
    expected = [plain.reset(seed=7)[0], *(plain.step(step // 3 % 2)[0] for step in range(8))]
    np.testing.assert_array_equal(np.concatenate(observations), expected)


def test_arguments_reach_the_environment() -> None:
    env = make_control("FrozenLake-v1", 2, {"map_name": "8x8"})
    assert env.observation_space.n == 64
    short = make_control("CartPole-v1", kwargs={"max_episode_steps": 4})
    assert [episode["l"] for episode in episodes(short, 0, steps=8)[1]] == [4, 4]


def test_mujoco_prints_nothing_and_leaves_no_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mujoco = pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)
    make_control("HalfCheetah-v5").close()  # a model with deprecated attributes
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    with pytest.warns(RuntimeWarning, match=r"^MuJoCo: Nan, Inf or huge value"):
        mujoco.get_mju_user_warning()("Nan, Inf or huge value in QACC")
