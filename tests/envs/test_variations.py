from __future__ import annotations

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from snn4.envs.control import make_control
from snn4.envs.variations import BadVariation, VariationConfig, Varied, numbers


def lived(environment: str, variation: VariationConfig | None, steps: int = 30, seed: int = 3) -> Any:
    """Observations (steps + 1, n) of one environment under random actions, the same whatever the variation."""
    env: Any = make_control(environment, 1, {}, variation)
    env.seed(seed)
    env.action_space.seed(0)
    observations: list[Any] = [np.asarray(env.reset())[0]]
    observations += [env.step(np.array([env.action_space.sample()]))[0][0] for _ in range(steps)]
    return np.stack(observations)


def test_a_variation_that_changes_nothing() -> None:
    np.testing.assert_array_equal(lived("CartPole-v1", VariationConfig()), lived("CartPole-v1", None))


def test_the_environment_s_own_constructor_knows_the_same_physics() -> None:
    """Pendulum and LunarLander take their physics as arguments, too: two ways to the same world."""
    varied = lived("Pendulum-v1", VariationConfig({"g": 3.5}))
    env: Any = make_control("Pendulum-v1", 1, {"g": 3.5})
    env.seed(3)
    env.action_space.seed(0)
    np.testing.assert_array_equal(varied[0], np.asarray(env.reset())[0])
    for observation in varied[1:]:
        np.testing.assert_array_equal(observation, env.step(np.array([env.action_space.sample()]))[0][0])
    assert not np.array_equal(varied, lived("Pendulum-v1", None))


@pytest.mark.parametrize(
    ("varied", "arguments"),
    [({"wind_power": 18.0}, {"enable_wind": True, "wind_power": 18.0}), ({"gravity": -3.0}, {"gravity": -3.0})],
)
def test_the_moon_s_wind_and_gravity(varied: dict[str, float], arguments: dict[str, Any]) -> None:
    pytest.importorskip("Box2D")
    moons = [Varied(gym.make("LunarLander-v3"), VariationConfig(varied)), gym.make("LunarLander-v3", **arguments)]
    for env in moons:
        env.reset(seed=4)
    for _ in range(20):
        a, b = (env.step(2)[0] for env in moons)
        np.testing.assert_array_equal(a, b)


def test_quantities_that_cartpole_computes_from_masses_follow() -> None:
    env: Any = Varied(
        gym.make("CartPole-v1"), VariationConfig({"masspole": 0.5, "length": 2.0, "gravity": 15})
    ).unwrapped
    assert (env.gravity, env.total_mass, env.polemass_length) == (15, 0.5 + env.masscart, 0.5 * 2.0)
    env = Varied(gym.make("CartPole-v1"), VariationConfig({"masspole": 0.5, "total_mass": 9.0})).unwrapped
    assert env.total_mass == 9.0, "what is given is not computed"


def test_wind_that_is_switched_off_stays_off() -> None:
    pytest.importorskip("Box2D")
    env: Any = Varied(gym.make("LunarLander-v3"), VariationConfig({"wind_power": 5.0, "enable_wind": False})).unwrapped
    assert not env.enable_wind


def test_noise_changes_observations_and_not_the_state() -> None:
    plain, noisy = lived("CartPole-v1", None, 8), lived("CartPole-v1", VariationConfig(noise=0.1), 8)
    difference = noisy - plain
    assert 0.05 < difference.std() < 0.2
    assert noisy.dtype == plain.dtype
    # The noise does not enter the state: the noise of one step is not in the next.
    assert abs(np.corrcoef(difference[:-1].ravel(), difference[1:].ravel())[0, 1]) < 0.6
    np.testing.assert_array_equal(noisy, lived("CartPole-v1", VariationConfig(noise=0.1), 8))
    assert not np.array_equal(noisy, lived("CartPole-v1", VariationConfig(noise=0.1), 8, seed=4))


class Grey(gym.Env[Any, Any]):
    """Shows a grey image."""

    observation_space = gym.spaces.Box(0, 255, (1, 100, 100), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.full((1, 100, 100), 128, np.uint8), {}


def test_noise_stays_in_the_space() -> None:
    env = make_control("CartPolePixels-v1", 1, {}, VariationConfig(noise=200.0))
    env.seed(0)
    images = np.asarray(env.reset())
    assert images.dtype == np.uint8
    assert {0, 255} <= set(images.ravel().tolist())


@pytest.mark.parametrize("environment", ["CartPole-v1", "CartPolePixels-v1"])
def test_lost_sensors_read_zero(environment: str) -> None:
    plain, blind = lived(environment, None, 8), lived(environment, VariationConfig(lost=(1, 2)), 8)
    assert plain[:, 1:3].any()
    assert not blind[:, 1:3].any()
    np.testing.assert_array_equal(blind[:, [0, 3]], plain[:, [0, 3]])


def test_a_lost_velocity_is_the_task_without_velocities() -> None:
    np.testing.assert_array_equal(
        lived("CartPole-v1", VariationConfig(lost=(1, 3)), 8), lived("CartPoleNoVel-v1", None, 8)
    )


class Echo(gym.Env[Any, Any]):
    """Observes the last action."""

    observation_space = gym.spaces.Box(-100.0, 100.0, (1,))

    def __init__(self, actions: gym.Space[Any]) -> None:
        self.action_space = actions

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.array(action, np.float32).reshape(1), 0.0, False, False, {}


def test_discrete_actions_slip_as_often_as_they_should() -> None:
    env = Varied(Echo(gym.spaces.Discrete(4, start=5)), VariationConfig(action_noise=0.4))
    env.reset(seed=0)
    actions = [float(env.step(5)[0][0]) for _ in range(2000)]
    assert set(actions) == {5.0, 6.0, 7.0, 8.0}
    assert np.mean([action != 5 for action in actions]) == pytest.approx(0.4 * 3 / 4, abs=0.04)


def test_continuous_actions_get_noise_within_their_range() -> None:
    env = Varied(Echo(gym.spaces.Box(-2.0, 2.0, (1,))), VariationConfig(action_noise=0.1))
    env.reset(seed=0)
    actions = np.array([env.step(np.array([0.5], np.float32))[0][0] for _ in range(2000)])
    assert actions.mean() == pytest.approx(0.5, abs=0.02)
    assert actions.std() == pytest.approx(0.2, abs=0.02)
    assert max(env.step(np.array([1.99], np.float32))[0][0] for _ in range(100)) == 2


def test_unknown_physics_list_the_known_names() -> None:
    with pytest.raises(BadVariation) as error:
        make_control("CartPole-v1", 1, {}, VariationConfig({"gravitas": 1.0}))
    message = str(error.value)
    assert message.startswith("physics: got 'gravitas', allowed are ")
    assert all(f"{name} (" in message for name in ("gravity", "masspole", "length", "force_mag"))
    assert "_" not in re.findall(r"are _|, _", message)


def test_numbers_of_a_class_are_found_too() -> None:
    assert {"LINK_MASS_1", "LINK_LENGTH_2", "dt"} <= set(numbers(gym.make("Acrobot-v1").unwrapped))


@pytest.mark.parametrize(
    ("environment", "variation", "message"),
    [
        ("CartPole-v1", VariationConfig(lost=(4,)), r"lost: got \[4\], allowed are 0 to 3"),
        ("CartPole-v1", VariationConfig(action_noise=1.5), "action_noise: got 1.5, allowed for Discrete actions"),
        ("Taxi-v4", VariationConfig(noise=0.1), "noise: not allowed with Discrete observations; remove noise"),
        ("Taxi-v4", VariationConfig(lost=(0,)), "lost: not allowed with Discrete observations; remove lost"),
    ],
)
def test_variations_that_do_not_fit_the_environment(environment: str, variation: VariationConfig, message: str) -> None:
    with pytest.raises(BadVariation, match=f"^{message}"):
        make_control(environment, 1, {}, variation)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": -1.0}, "noise: got -1.0, allowed is a finite number >= 0"),
        ({"action_noise": float("nan")}, "action_noise: got nan, allowed"),
        ({"lost": (-1,)}, r"lost: got \[-1\], allowed are places"),
        ({"physics": {"gravity": float("inf")}}, "physics: got gravity = inf, allowed is a finite number"),
    ],
)
def test_impossible_numbers(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        VariationConfig(**arguments)


def test_a_variation_in_words() -> None:
    variation = VariationConfig({"gravity": 15.0, "length": 0.25}, noise=0.1, lost=(1, 3), action_noise=0.05)
    assert str(variation) == "gravity 15, length 0.25, noise 0.1, without sensor 1 3, action noise 0.05"
    assert str(VariationConfig()) == ""


def test_noise_makes_images_no_darker() -> None:
    env = Varied(Grey(), VariationConfig(noise=3.0))
    means = [float(env.reset(seed=seed)[0].mean()) for seed in range(3)]
    assert np.mean(means) == pytest.approx(128, abs=0.1)
