"""Testing: how well a policy acts, and what a decision costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from snn4.agent.events import Score
from snn4.envs.control import make_control
from snn4.envs.world import TaskConfig
from snn4.learners.experience import set_normalization
from snn4.learners.finite import require_finite
from snn4.policies.metering import Meter

VALIDATION_SEED, TEST_SEED = 1_000_000, 2_000_000
"""Base seeds of validation and test episodes, the same for every life; training seeds are drawn elsewhere."""


@dataclass(frozen=True)
class EvaluationConfig:
    """When and how the organism is evaluated; a checkpoint is written each time."""

    every: int = 10_000
    """Environment steps between validations."""
    episodes: int = 20
    """Validation episodes; the weights that do best on them are kept at the end of a task."""
    test_episodes: int = 100
    """Test episodes at the end of the life, on seeds that are used for nothing else."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name}: got {value}, allowed is a whole number >= 1")


class Evaluator:
    """Environments for evaluation, made once and kept: validation comes often."""

    def __init__(self) -> None:
        self._environments: dict[str, VecEnv] = {}

    def environment(self, task: TaskConfig, episodes: int) -> VecEnv:
        """Copies of the task's environment in which ``episodes`` run side by side, at most 100 at a time."""
        n_envs = min(episodes, 100)
        key = f"{task.environment} {sorted(task.kwargs.items())} {n_envs}"
        if key not in self._environments:
            self._environments[key] = make_control(task.environment, n_envs, task.kwargs)
        return self._environments[key]


def evaluate(
    policy: BasePolicy, env: VecEnv, episodes: int, seed: int, normalization: dict[str, Any] | None = None
) -> Score:
    """Return, and cost of a decision, over ``episodes`` that ``seed`` fixes: the measured part of a summary's row."""
    if normalization is not None:
        env = VecNormalize(env, training=False, norm_reward=False)
        set_normalization(env, normalization)
    env.seed(seed)
    with Meter(policy) as meter:
        returns, _ = evaluate_policy(
            policy, env, episodes, deterministic=True, return_episode_rewards=True, callback=_check_observations
        )  # type: ignore[misc]
    return {
        "return_mean": float(np.mean(returns)),
        "return_std": float(np.std(returns)),
        "episodes": episodes,
        **{name: value for name, value in asdict(meter.cost()).items() if name != "layers"},  # they fill the journal
    }


def _check_observations(local: dict[str, Any], _: dict[str, Any]) -> None:
    require_finite("observation", local["new_observations"])


SUMMARY_KEYS = (
    "return_mean", "return_std", "episodes", "env_steps", "wall_seconds", "env_steps_per_second",
    "spikes_per_decision", "effective_acs", "effective_macs", "energy_joules", "parameters", "bytes",
)  # fmt: skip


def summary_row(score: Score, env_steps: int, wall_seconds: float) -> Score:
    """A test score and the learning that led to it, with exactly `SUMMARY_KEYS`."""
    speed = env_steps / wall_seconds if wall_seconds else 0.0
    row = {**score, "env_steps": env_steps, "wall_seconds": wall_seconds, "env_steps_per_second": speed}
    return {key: row[key] for key in SUMMARY_KEYS}
