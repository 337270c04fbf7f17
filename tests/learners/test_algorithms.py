"""Algorithms by name: their settings and the policies that they train."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from snn4.envs.control import make_control
from snn4.learners.algorithms import ALGORITHMS, LearnerConfig, make_policy
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.coding import CodingConfig
from snn4.policies.sb3 import PolicyConfig


def learned(config: LearnerConfig, policy: PolicyConfig, env: VecEnv) -> Any:
    """The policy that a learner trains; `make_policy` makes one that only acts."""
    return ReinforcementLearner(config, policy, env, 10, 0).model.policy


@pytest.mark.parametrize("make", [make_policy, learned])
def test_policy_kwargs_reach_both(make: Callable[..., Any]) -> None:
    config = LearnerConfig("PPO", policy_kwargs={"log_std_init": -2.0})
    assert make(config, PolicyConfig(net_arch=(16, 16), T=3), make_control("Pendulum-v1")).log_std.item() == -2


@pytest.mark.parametrize("make", [make_policy, learned])
def test_population_code_covers_normalised_observations(make: Callable[..., Any]) -> None:
    """MountainCar's velocity lies within ±0.07, its normalised velocity does not."""
    config, policy = LearnerConfig("PPO", normalize=True), PolicyConfig(coding=CodingConfig("population"))
    actor_critic = make(config, policy, make_control("MountainCarContinuous-v0"))
    centres = actor_critic.mlp_extractor.policy_net.encoder.centres
    assert centres.amin(1).tolist() == [-3, -3]
    assert centres.amax(1).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"algorithm": "DDPG"}, "algorithm: got 'DDPG', allowed are PPO, A2C, DQN, SAC, TD3"),
        ({"n_envs": 0}, "n_envs: got 0, allowed is a whole number >= 1 and <= 10,000"),
        ({"algorithm": "TD3", "noise_std": -0.1}, "noise_std: got -0.1, allowed is a finite number >= 0"),
        ({"algorithm": "TD3", "noise_std": float("nan")}, "noise_std: got nan, allowed is a finite number >= 0"),
        (
            {"algorithm": "PPO", "noise_std": 0.1},
            "noise_std: 0.1 is not allowed with algorithm: PPO, which draws its own noise; set noise_std: 0",
        ),
    ],
)
def test_config_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        LearnerConfig(**arguments)


def test_actions_of_the_algorithms_are_those_that_sb3_takes() -> None:
    tried = {spaces.Box: "Pendulum-v1", spaces.Discrete: "CartPole-v1"}
    for name, algorithm in ALGORITHMS.items():
        for kind, environment in tried.items():
            arguments: dict[str, Any] = {"env": make_control(environment), "policy": algorithm.spiking_policy}
            if kind in algorithm.actions:
                algorithm.sb3(**arguments)
            else:
                with pytest.raises(AssertionError):
                    algorithm.sb3(**arguments)
        assert algorithm.sb3.__name__ == name


class Line(gym.Env[Any, Any]):
    """A walker on a line that observes its place and side; it goes left (-1), stays (0) or goes right (1)."""

    observation_space = spaces.Dict(place=spaces.Box(-10, 10, (2,)), side=spaces.Discrete(3, start=-1))
    action_space = spaces.Discrete(3, start=-1)
    counts: ClassVar[Counter[int]] = Counter()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x = self.steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.counts[int(action)] += 1
        self.x, self.steps = self.x + int(action), self.steps + 1
        return self.observe(), -float(self.x), self.steps == 10, False, {}

    def observe(self) -> dict[str, Any]:
        return {"place": np.full(2, self.x, np.float32), "side": int(np.sign(self.x))}


@pytest.fixture
def line() -> Iterator[str]:
    """The name of a registered `Line`, for this test only; no action has been taken yet."""
    gym.register("Line-v0", Line)
    Line.counts.clear()
    yield "Line-v0"
    gym.registry.pop("Line-v0")


@pytest.mark.parametrize("kind", ["spiking", "ann"])
@pytest.mark.parametrize(("algorithm", "state"), [("PPO", "reset"), ("PPO", "carry"), ("DQN", "reset")])
def test_it_learns_and_acts_where_spaces_are_not_plain(line: str, algorithm: Any, state: Any, kind: Any) -> None:
    hyperparameters = {"n_steps": 32} if algorithm == "PPO" else {"learning_starts": 32, "buffer_size": 99}
    config = LearnerConfig(algorithm, normalize=True, hyperparameters=hyperparameters | {"batch_size": 32})
    policy = PolicyConfig(kind, (8, 8), 1, state)
    learner = ReinforcementLearner(config, policy, make_control(line), 64, 0)
    learner.begin(0)
    *_, last = learner.learn(64)
    assert last.step >= 64
    assert set(Line.counts) == {-1, 0, 1}, "the environment's own actions are taken, not those of the policy from 0"
    Line.counts.clear()
    evaluate_policy(learner.policy, learner.model.get_env(), 1)  # type: ignore[arg-type]
    assert set(Line.counts) <= {-1, 0, 1}
