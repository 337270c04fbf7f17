"""NaN and infinity stop the learning; the error names the place where they first appear."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from torch.distributions import Distribution

from snn4.envs.control import make_control
from snn4.learners.algorithms import LearnerConfig
from snn4.learners.not_finite import NotFinite
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.sb3 import PolicyConfig

POLICY = PolicyConfig(net_arch=(16, 16), T=3)
PPO = {"n_steps": 16, "batch_size": 16, "n_epochs": 2}
REPLAY = {"learning_starts": 40, "buffer_size": 500, "batch_size": 16, "train_freq": 4}
DQN = REPLAY | {"target_update_interval": 30}


def learn(config: LearnerConfig, env: VecEnv, until: int, policy: PolicyConfig = POLICY) -> None:
    learner = ReinforcementLearner(config, policy, env, 2000, 0)
    learner.begin(0)
    list(learner.learn(until))


class Faulty(gym.Env[Any, Any]):
    """Gives ``value`` at step ``at`` (0 is the reset) in place of an observation's second number, or of a reward."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)

    def __init__(self, quantity: str, at: int, value: float) -> None:
        self.quantity, self.at = quantity, at
        self.value, self.now = value, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observe(), {}

    def observe(self) -> Any:
        bad = self.quantity == "observation" and self.now == self.at
        return np.array([0.5, self.value if bad else 0.5], np.float32)

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.now += 1
        bad = self.quantity == "reward" and self.now == self.at
        return self.observe(), self.value if bad else float(action), False, False, {}


@pytest.fixture
def faulty() -> Iterator[str]:
    gym.register("Faulty-v0", lambda **kwargs: Faulty(**kwargs))
    yield "Faulty-v0"
    gym.registry.pop("Faulty-v0")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("quantity", "at"), [("observation", 0), ("observation", 7), ("reward", 7), ("reward", 40)])
@pytest.mark.parametrize(("algorithm", "hyperparameters"), [("PPO", PPO), ("DQN", DQN)], ids=["PPO", "DQN"])
def test_faulty_environment_is_named(
    faulty: str, algorithm: Any, hyperparameters: dict[str, Any], quantity: str, at: int, value: float
) -> None:
    env = make_control(faulty, 1, {"quantity": quantity, "at": at, "value": value})
    place = "index [1]" if quantity == "observation" else "index []"
    message = f"step {at}: {quantity} holds {value} (environment 0, {place})"
    with pytest.raises(NotFinite, match=f"^{re.escape(message)}$"):
        learn(LearnerConfig(algorithm, hyperparameters=hyperparameters), env, 100)


@pytest.mark.parametrize("normalize", [False, True])
def test_the_environment_at_fault_is_named(faulty: str, normalize: bool) -> None:
    env: Any = make_control(faulty, 3, {"quantity": "observation", "at": 5, "value": float("nan")})
    for number in (0, 2):
        env.unwrapped.envs[number].unwrapped.at = 1000
    config = LearnerConfig("PPO", hyperparameters=PPO | {"batch_size": 48}, normalize=normalize, n_envs=3)
    # With normalisation, one NaN spoils the statistics and so all environments.
    place = "environment 0" if normalize else "environment 1"
    with pytest.raises(NotFinite, match=rf"^step 15: observation holds nan \({place}, index \[1\]\)"):
        learn(config, env, 500)


@pytest.mark.parametrize("kind", ["spiking", "ann"])
@pytest.mark.parametrize(
    ("environment", "algorithm", "hyperparameters"),
    [
        ("CartPole-v1", "PPO", PPO),
        ("Pendulum-v1", "SAC", REPLAY | {"train_freq": 1}),
        ("Pendulum-v1", "TD3", REPLAY | {"train_freq": 1}),
    ],
    ids=["PPO", "SAC", "TD3"],
)
def test_absurd_learning_rate(environment: str, algorithm: Any, hyperparameters: dict[str, Any], kind: Any) -> None:
    policy = PolicyConfig(kind=kind, net_arch=(16, 16), T=3)
    noise = 0.1 if algorithm == "TD3" else 0.0
    config = LearnerConfig(algorithm, noise_std=noise, hyperparameters=hyperparameters | {"learning_rate": 1e30})
    with pytest.raises(NotFinite, match=r"^step \d+: (train/\w+ is (nan|inf)|policy: [\w.]+ holds NaN)"):
        learn(config, make_control(environment), 400, policy)


def test_a_spread_of_zero_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaussian actions after a learning rate of 1e30: weights of -1e30 are finite, but exp(-1e30) is 0."""
    monkeypatch.setattr(Distribution, "_validate_args", True)  # torch.compile, once used, ends torch's checks
    config = LearnerConfig("PPO", hyperparameters=PPO, policy_kwargs={"log_std_init": -1e30})
    with pytest.raises(NotFinite, match=r"^step 0: action distribution: .*scale"):
        learn(config, make_control("Pendulum-v1"), 32)


def test_undefined_statistics_are_no_failure() -> None:
    """``explained_variance`` of a single value is NaN, which does no harm."""
    learn(LearnerConfig("A2C", hyperparameters={"n_steps": 1}), make_control("CartPole-v1"), 20)
