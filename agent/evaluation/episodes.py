"""Testing: how well a policy acts, and what a decision costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor

from snn4.agent.config.fields import check_least
from snn4.agent.evaluation.counted import Counted
from snn4.agent.run.events import Score
from snn4.envs.labelled import Labelled, Part
from snn4.envs.world import TaskConfig
from snn4.learners.sb3_state import set_normalization
from snn4.policies.metering.meter import Meter

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
        check_least(self, 1, "every", "episodes", "test_episodes")


class Evaluator:
    """Environments for evaluation, made once and kept: validation comes often."""

    def __init__(self) -> None:
        self._environments: dict[str, VecEnv] = {}
        self._chances: dict[tuple[int, int], float] = {}

    def environment(self, task: TaskConfig, episodes: int, part: Part = "validation") -> VecEnv:
        """Copies of the task's environment in which ``episodes`` run side by side, at most 100 at a time.

        Of a data set it is that ``part``; environments differ by their seeds alone.
        """
        n_envs = min(episodes, 100) if task.data is None else 100
        key = f"{task.environment} {sorted(task.kwargs.items())} {task.variation!r} {n_envs}"
        key += "" if task.data is None else f" {task.data} {part}"
        if key not in self._environments:
            self._environments[key] = task.make(n_envs, part)
        return self._environments[key]

    def chance(self, task: TaskConfig, episodes: int) -> float:
        """Mean return of random actions, in validation episodes; always the same."""
        env = self.environment(task, episodes)
        if (key := (id(env), episodes)) not in self._chances:
            env.seed(VALIDATION_SEED)
            env.action_space.seed(VALIDATION_SEED)
            number, random = _episodes(env, episodes), _Chance(env.action_space)
            returns, _ = evaluate_policy(random, env, number, return_episode_rewards=True, warn=False)  # type: ignore[arg-type]
            self._chances[key] = float(np.mean(returns))  # type: ignore[arg-type]
        return self._chances[key]


class _Chance:
    """Acts at random; SB3's evaluation asks it as it asks a policy."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space

    def predict(self, observation: Any, state: Any = None, *_: Any, **__: Any) -> tuple[NDArray[Any], Any]:
        return np.array([self.space.sample() for _ in range(len(observation))]), state


def evaluate(
    policy: BasePolicy, env: VecEnv, episodes: int, seed: int, normalization: dict[str, Any] | None = None
) -> Score:
    """Return, and cost of a decision, over ``episodes`` that ``seed`` fixes: the measured part of a summary's row.

    Of images it is all there are, and the mean return is the accuracy.
    """
    episodes = _episodes(env, episodes)
    if normalization is not None:
        env = VecNormalize(env, training=False, norm_reward=False)
        set_normalization(env, normalization)
    env.seed(seed)
    counted = Counted(policy, episodes, env.num_envs)
    with torch.random.fork_rng(), Meter(policy) as meter:
        torch.manual_seed(seed)  # of codes that draw their spikes
        returns, _ = evaluate_policy(
            counted, env, episodes, deterministic=True, return_episode_rewards=True, callback=counted, warn=False,
        )  # type: ignore[arg-type, misc]  # fmt: skip
    return {
        "return_mean": float(np.mean(returns)),
        "return_std": float(np.std(returns)),
        "episodes": episodes,
        **{name: value for name, value in asdict(meter.cost()).items() if name != "layers"},  # they fill the journal
    }


def _episodes(env: VecEnv, asked: int) -> int:
    return len(env.samples) if isinstance(env, Labelled) else asked


def observe(
    policy: BasePolicy, env: VecEnv, samples: int, seed: int, normalization: dict[str, Any] | None = None
) -> Tensor:
    """Observations (samples, …) as ``policy`` is shown them while it acts, not always its best, in whole episodes."""
    if normalization is not None:
        env = VecNormalize(env, training=False, norm_reward=False)
        set_normalization(env, normalization)
    set_random_seed(seed)
    env.seed(seed)
    seen, observation = [], env.reset()
    for _ in range(_THINNING * -(-samples // env.num_envs)):
        seen.append(policy.obs_to_tensor(observation)[0].clone())  # type: ignore[union-attr, arg-type]
        observation, *_ = env.step(policy.predict(observation)[0])  # type: ignore[arg-type]
    everything = torch.cat(seen)
    return everything[torch.randperm(len(everything))[:samples]]


_THINNING = 10
"""Observations that are passed over for one that is kept: neighbours in an episode say much the same."""


SUMMARY_KEYS = (
    "return_mean", "return_std", "episodes", "env_steps", "wall_seconds", "env_steps_per_second",
    "spikes_per_decision", "effective_acs", "effective_macs", "neuron_macs", "neuron_acs", "energy_joules",
    "parameters", "bytes",
)  # fmt: skip


def summary_row(score: Score, env_steps: int, wall_seconds: float) -> Score:
    """A test score and the learning that led to it, with exactly `SUMMARY_KEYS`."""
    speed = env_steps / wall_seconds if wall_seconds else 0.0
    row = {**score, "env_steps": env_steps, "wall_seconds": wall_seconds, "env_steps_per_second": speed}
    return {key: row[key] for key in SUMMARY_KEYS}
