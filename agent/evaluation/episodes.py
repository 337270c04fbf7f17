"""Tests of a policy: return, and cost per decision."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor

from snn4.agent.config.fields import check_least
from snn4.agent.evaluation.joules import NOT_MEASURABLE
from snn4.agent.run.events import Score
from snn4.agent.run.work import Stop
from snn4.envs.control import Control
from snn4.envs.labelled import Labelled, Part
from snn4.envs.world import TaskConfig
from snn4.learners.generators import result_of
from snn4.learners.not_finite import require_finite
from snn4.learners.sb3_state import set_normalization
from snn4.policies.metering.meter import Meter

VALIDATION_SEED, TEST_SEED = 1_000_000, 2_000_000
"""Base seeds of validation and test episodes, the same for every life; learning draws its seeds separately."""


@dataclass(frozen=True)
class EvaluationConfig:
    """When and how the organism is evaluated; each evaluation is followed by a checkpoint."""

    every: int = 10_000
    """Environment steps between validations."""
    episodes: int = 20
    """Validation episodes; a task ends with the weights that did best on them."""
    test_episodes: int = 100
    """Test episodes at the end of the life, on seeds used for nothing else."""
    max_episode_steps: int | None = None
    """Steps after which an episode of an evaluation is cut; null takes the environment's own limit, or 10,000 steps
    without one."""

    def __post_init__(self) -> None:
        check_least(self, 1, "every", "episodes", "test_episodes")
        if self.max_episode_steps is not None:
            check_least(self, 1, "max_episode_steps")


UNLIMITED_EPISODE = 10_000
"""Steps after which an episode of an evaluation is cut, in an environment without a limit."""
SIGN_OF_LIFE = 2_000
"""Steps of all copies of an environment between two reports of an evaluation."""


class Interrupted(Exception):
    """An evaluation was stopped."""


class Evaluator:
    """Environments for evaluation, made once and kept, since validations are frequent.

    Args:
        max_episode_steps: of `EvaluationConfig`.
    """

    def __init__(self, max_episode_steps: int | None = None) -> None:
        self.max_episode_steps = max_episode_steps
        self._environments: dict[str, VecEnv] = {}
        self._chances: dict[tuple[int, int], float] = {}

    def environment(self, task: TaskConfig, episodes: int, part: Part = "validation") -> VecEnv:
        """Copies of the task's environment that play ``episodes`` side by side, at most 100 at a time.

        ``part`` selects the data of a data set; in other environments the parts differ only in their seeds.
        """
        n_envs = min(episodes, 100) if task.data is None else 100
        key = f"{task.environment} {sorted(task.kwargs.items())} {task.variation!r} {n_envs}"
        key += "" if task.data is None else f" {task.data} {part}"
        if key not in self._environments:
            env = task.make(n_envs, part, self.max_episode_steps)
            if isinstance(env, Control) and env.cut_after is None and not env.has_limit:
                env.close()
                env = task.make(n_envs, part, UNLIMITED_EPISODE)
            self._environments[key] = env
        return self._environments[key]

    def chance(self, task: TaskConfig, episodes: int) -> float:
        """Mean return of random actions in validation episodes, with a fixed seed."""
        env = self.environment(task, episodes)
        if (key := (id(env), episodes)) not in self._chances:
            env.seed(VALIDATION_SEED)
            env.action_space.seed(VALIDATION_SEED)
            played = result_of(play(_Chance(env.action_space), env, _episodes(env, episodes), lambda: False))
            self._chances[key] = float(np.mean([episode.episode_return for episode in played]))
        return self._chances[key]


class _Chance:
    """Acts at random, with the interface of a policy."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space

    def predict(self, observation: Any, state: Any = None, *_: Any, **__: Any) -> tuple[NDArray[Any], Any]:
        return np.array([self.space.sample() for _ in range(len(observation))]), state


@dataclass(frozen=True)
class Underway:
    """The progress of a long evaluation."""

    steps: int
    """Steps of each copy of the environment."""
    done: int
    """Finished episodes, out of ``episodes``."""
    episodes: int


class Episode(NamedTuple):
    """A finished episode."""

    episode_return: float
    steps: int
    copy: int
    """Number of the copy of the environment that played it."""


def evaluate(
    policy: BasePolicy, env: VecEnv, episodes: int, seed: int, normalization: dict[str, Any] | None = None
) -> Score:
    """The result of `evaluation`, without progress reports."""
    return result_of(evaluation(policy, env, episodes, seed, normalization))


def evaluation(
    policy: BasePolicy, env: VecEnv, episodes: int, seed: int, normalization: dict[str, Any] | None = None,
    stop: Stop = lambda: False,
) -> Generator[Underway, None, Score]:  # fmt: skip
    """Return and cost per decision over ``episodes`` with ``seed``: the measured part of a row of the summary.

    A data set is tested on all its images; the mean return is the accuracy. ``episodes_cut`` counts episodes that were
    cut before their end, if there were any.

    Raises:
        Interrupted: ``stop``, called before each step, returned True.
        NotFinite: an observation is NaN or infinite.
    """
    episodes = _episodes(env, episodes)
    cut_after = getattr(env, "cut_after", None)
    env = normalized(env, normalization)
    env.seed(seed)
    with torch.random.fork_rng(), Meter(policy) as meter:
        torch.manual_seed(seed)  # for codes with random spikes
        played = yield from play(policy, env, episodes, stop)
    returns = [episode.episode_return for episode in played]
    cut = sum(cut_after is not None and episode.steps >= cut_after for episode in played)
    return {
        "return_mean": float(np.mean(returns)),
        "return_std": float(np.std(returns)),
        "episodes": episodes,
        **({"episodes_cut": cut} if cut else {}),
        **{name: value for name, value in asdict(meter.cost()).items() if name != "layers"},  # too long for the journal
    }


def normalized(env: VecEnv, normalization: dict[str, Any] | None) -> VecEnv:
    """``env`` with observations normalised by fixed statistics, if there are any."""
    if normalization is None:
        return env
    fixed = VecNormalize(env, training=False, norm_reward=False)
    set_normalization(fixed, normalization)
    return fixed


def play(policy: Any, env: VecEnv, episodes: int, stop: Stop) -> Generator[Underway, None, list[Episode]]:
    """Play whole episodes in all copies of ``env``, distributed as in SB3's ``evaluate_policy``.

    The policy only decides for copies that still owe an episode, so that a meter sees the decisions of the counted
    episodes and no others; the other copies repeat an action.
    """
    owed = (episodes + np.arange(env.num_envs)) // env.num_envs
    played: list[Episode] = []
    observation = env.reset()
    state = None
    starts = np.ones(env.num_envs, dtype=bool)
    steps = 0
    lengths = np.zeros(env.num_envs, int)
    returns = np.zeros(env.num_envs)
    while len(rows := np.flatnonzero(owed)):
        if stop():
            raise Interrupted
        actions, state = _decide(policy, observation, state, starts, rows)
        observation, rewards, starts, infos = env.step(actions)
        require_finite("observation", observation)  # type: ignore[arg-type]
        lengths = lengths + 1
        returns = returns + rewards
        steps += 1
        for copy in rows[starts[rows]]:
            record = infos[copy].get("episode")  # by SB3's Monitor, before wrappers change rewards
            episode_return = float(returns[copy] if record is None else record["r"])
            played.append(Episode(episode_return, int(lengths[copy]), int(copy)))
        owed = np.where(starts, np.maximum(owed - 1, 0), owed)
        lengths = np.where(starts, 0, lengths)
        returns = np.where(starts, 0.0, returns)
        if steps % SIGN_OF_LIFE == 0:
            yield Underway(steps, len(played), episodes)
    return played


def _decide(
    policy: Any, observation: Any, state: Any, starts: NDArray[np.bool_], rows: NDArray[np.int64]
) -> tuple[NDArray[Any], Any]:
    """Actions and next states of all copies; the policy only decides for those in ``rows``."""
    if len(rows) == len(starts):
        return policy.predict(observation, state, starts, deterministic=True)  # type: ignore[no-any-return]
    before = None if state is None else tuple(part[:, rows] for part in state)
    decided, after = policy.predict(observation[rows], before, starts[rows], deterministic=True)
    actions = np.repeat(decided[:1], len(starts), 0)
    actions[rows] = decided
    return actions, None if after is None else tuple(_whole(part, rows, len(starts)) for part in after)


def _whole(part: NDArray[Any], rows: NDArray[np.int64], copies: int) -> NDArray[Any]:
    """A state (layers, copies, n) with ``part`` in ``rows`` and zeros elsewhere."""
    whole = np.zeros((len(part), copies, *part.shape[2:]), part.dtype)
    whole[:, rows] = part
    return whole


def _episodes(env: VecEnv, asked: int) -> int:
    return len(env.samples) if isinstance(env, Labelled) else asked


def observe(
    policy: BasePolicy, env: VecEnv, samples: int, seed: int, normalization: dict[str, Any] | None = None
) -> Tensor:
    """Observations (samples, …) as ``policy`` sees them, from whole episodes with actions that it samples."""
    env = normalized(env, normalization)
    set_random_seed(seed)
    env.seed(seed)
    seen = []
    observation = env.reset()
    for _ in range(_THINNING * -(-samples // env.num_envs)):
        seen.append(policy.obs_to_tensor(observation)[0].clone())  # type: ignore[union-attr, arg-type]
        observation, *_ = env.step(policy.predict(observation)[0])  # type: ignore[arg-type]
    observations = torch.cat(seen)
    return observations[torch.randperm(len(observations))[:samples]]


_THINNING = 10
"""Observations drawn for each one kept: neighbours in an episode are much alike."""


SUMMARY_KEYS = (
    "return_mean", "return_std", "episodes", "env_steps", "wall_seconds", "env_steps_per_second",
    "spikes_per_decision", "effective_acs", "effective_macs", "neuron_macs", "neuron_acs", "energy_joules",
    "parameters", "bytes", "footprint_bytes", "connection_sparsity", "activation_sparsity", "dense_macs",
    "latency_steps", "energy_joules_measured",
)  # fmt: skip


def summary_row(
    score: Score, env_steps: int, wall_seconds: float, latency_steps: int = 1,
    joules_measured: float | str = NOT_MEASURABLE,
) -> Score:  # fmt: skip
    """A test score with what was measured beside it, with exactly `SUMMARY_KEYS`.

    Args:
        score: of `evaluation`.
        env_steps: of learning before it.
        wall_seconds: of learning before it.
        latency_steps: inner steps of a decision.
        joules_measured: of `joules.joules_per_decision`.
    """
    speed = env_steps / wall_seconds if wall_seconds else 0.0
    row = {
        **score, "env_steps": env_steps, "wall_seconds": wall_seconds, "env_steps_per_second": speed,
        "latency_steps": latency_steps, "energy_joules_measured": joules_measured,
    }  # fmt: skip
    return {key: row[key] for key in SUMMARY_KEYS}
