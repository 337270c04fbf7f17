"""Algorithms of stable-baselines3 by name, and models and policies from configs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from snn4.policies.gene import Gene, Locus
from snn4.policies.recurrent import LstmPolicy, SpikingRecurrentPolicy
from snn4.policies.sb3 import (
    PolicyConfig,
    SpikingActorCriticPolicy,
    SpikingDQNPolicy,
    SpikingSACPolicy,
    SpikingTD3Policy,
)


@dataclass(frozen=True)
class Algorithm:
    """An algorithm of SB3, its spiking policy, and the action spaces it supports."""

    sb3: type[BaseAlgorithm]
    spiking_policy: type[BasePolicy]
    actions: tuple[type[spaces.Space[Any]], ...]


_ANY_ACTIONS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
ALGORITHMS = {
    "PPO": Algorithm(PPO, SpikingActorCriticPolicy, _ANY_ACTIONS),
    "A2C": Algorithm(A2C, SpikingActorCriticPolicy, _ANY_ACTIONS),
    "DQN": Algorithm(DQN, SpikingDQNPolicy, (spaces.Discrete,)),
    "SAC": Algorithm(SAC, SpikingSACPolicy, (spaces.Box,)),
    "TD3": Algorithm(TD3, SpikingTD3Policy, (spaces.Box,)),
}
CARRYING = {"PPO": Algorithm(RecurrentPPO, SpikingRecurrentPolicy, _ANY_ACTIONS)}
"""Algorithms for policies that carry their membranes from decision to decision."""

MOST_ENVS = 10_000
_GENES = {"learning_rate": Gene(1e-5, 1e-2, log=True), "ent_coef": Gene(0.0, 0.1)}
"""Hyperparameters that evolve, if a config names them."""


@dataclass(frozen=True)
class LearnerConfig:
    """How the organism learns."""

    algorithm: Literal["PPO", "A2C", "DQN", "SAC", "TD3"] = "PPO"
    """Algorithm of SB3. DQN supports only Discrete action spaces, SAC and TD3 only Box."""
    n_envs: int = 1
    """Number of parallel copies of the environment."""
    normalize: bool = False
    """Running normalisation of observations and rewards (SB3's VecNormalize)."""
    noise_std: float = 0.0
    """Standard deviation of the noise on actions during learning (SAC, TD3)."""
    noise_type: Literal["normal", "ornstein-uhlenbeck"] = "normal"
    """Independent noise per step, or correlated noise that drifts and explores further."""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    """Arguments of the SB3 algorithm, in rl-zoo's notation: ``lin_1e-3`` falls linearly to 0 over the task."""
    policy_kwargs: dict[str, Any] = field(default_factory=dict)
    """Further ``policy_kwargs`` of SB3, such as ``log_std_init``."""

    def more_genes(self) -> dict[str, Locus]:
        """Those of ``hyperparameters`` that are numbers here, or schedules (`lin_1e-3`)."""
        given = {name: self.hyperparameters[name] for name in _GENES if name in self.hyperparameters}
        numbers = {name: _start(value) for name, value in given.items()}
        return {
            f"hyperparameters.{name}": Locus(_GENES[name], number)
            for name, number in numbers.items()
            if number is not None
        }

    def with_gene(self, name: str, value: Any) -> LearnerConfig:
        """This config with another hyperparameter; a schedule keeps its form."""
        key = name.partition(".")[2]
        is_schedule = str(self.hyperparameters[key]).startswith("lin_")
        changed = f"lin_{value!r}" if is_schedule else value
        return replace(self, hyperparameters={**self.hyperparameters, key: changed})

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm: got {self.algorithm!r}, allowed are {', '.join(ALGORITHMS)}")
        if not 1 <= self.n_envs <= MOST_ENVS:
            raise ValueError(f"n_envs: got {self.n_envs}, allowed is a whole number >= 1 and <= {MOST_ENVS:,}")
        if not 0 <= self.noise_std < float("inf"):
            raise ValueError(f"noise_std: got {self.noise_std}, allowed is a finite number >= 0")
        if self.n_envs > 1 and "episode" in _as_list(self.hyperparameters.get("train_freq")):
            raise ValueError(f"n_envs: {self.n_envs} is not allowed with train_freq in episodes; set n_envs: 1")
        if self.noise_std and self.algorithm not in ("SAC", "TD3"):
            raise ValueError(
                f"noise_std: {self.noise_std} is not allowed with algorithm: {self.algorithm}, which draws its own "
                "noise; set noise_std: 0"
            )


def make_model(config: LearnerConfig, policy: PolicyConfig, env: VecEnv, seed: int, device: str) -> BaseAlgorithm:
    """The SB3 algorithm that trains ``policy`` in ``env``."""
    arguments = {name: _schedule(value) for name, value in config.hyperparameters.items()}
    if config.noise_std:
        kind = NormalActionNoise if config.noise_type == "normal" else OrnsteinUhlenbeckActionNoise
        size = env.action_space.shape or ()
        noise = kind(np.zeros(size), np.full(size, config.noise_std))
        arguments["action_noise"] = VectorizedActionNoise(noise, env.num_envs)
    return algorithm_for(config, policy).sb3(
        policy=_policy_class(config, policy),
        env=env,
        policy_kwargs={**policy.sb3_kwargs(config.algorithm), **config.policy_kwargs},
        seed=seed,
        device=device,
        **arguments,
    )


def make_policy(config: LearnerConfig, policy: PolicyConfig, env: VecEnv, learns: bool = False) -> BasePolicy:
    """The untrained policy of a learner with these configs in ``env``; one that does not learn has no optimizer."""
    arguments = {**policy.sb3_kwargs(config.algorithm), **config.policy_kwargs}
    if not learns:
        arguments["optimizer_class"] = NoOptimizer
    if config.hyperparameters.get("use_sde"):
        arguments["use_sde"] = True
    return _policy_class(config, policy)(policy_space(config, env), env.action_space, lambda _: 0.0, **arguments)


class NoOptimizer:
    """Stands where SB3's policies make an optimizer, which one that only acts does not need.

    The first optimizer of torch in a process imports its compiler, which takes seconds.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def register_step_pre_hook(self, hook: Any) -> None:
        """Do nothing: there are no steps."""

    register_step_post_hook = register_step_pre_hook


def policy_space(config: LearnerConfig, env: VecEnv) -> spaces.Space[Any]:
    """The policy's observation space: normalised values have no bounds, whatever the environment's bounds are."""
    space = env.observation_space
    if config.normalize and isinstance(space, spaces.Box):
        return spaces.Box(-np.inf, np.inf, space.shape, np.float32)
    return space


def algorithm_for(config: LearnerConfig, policy: PolicyConfig) -> Algorithm:
    """The algorithm for ``policy``; ValueError if it cannot carry membranes."""
    if policy.state == "reset":
        return ALGORITHMS[config.algorithm]
    if config.algorithm not in CARRYING:
        raise ValueError(
            f"state: carry is not allowed with algorithm: {config.algorithm}; set algorithm: {' or '.join(CARRYING)}"
        )
    return CARRYING[config.algorithm]


def _policy_class(config: LearnerConfig, policy: PolicyConfig) -> type[BasePolicy]:
    algorithm = algorithm_for(config, policy)
    if policy.kind == "spiking":
        return algorithm.spiking_policy
    # The twin of a policy with a memory has an LSTM.
    return LstmPolicy if policy.state == "carry" else algorithm.sb3.policy_aliases["MlpPolicy"]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _start(value: Any) -> float | None:
    """The number in a hyperparameter, or the one at which a schedule starts; None if there is none."""
    text = str(value).removeprefix("lin_")
    try:
        return None if isinstance(value, bool) else float(text)
    except ValueError:
        return None


def _schedule(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("lin_"):
        return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)
    return tuple(value) if isinstance(value, list) else value
