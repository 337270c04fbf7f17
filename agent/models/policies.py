"""Trained policies of lives, as other kinds of runs take them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.policies import BasePolicy

from snn4.envs.world import TaskConfig
from snn4.learners.algorithms import LearnerConfig
from snn4.policies.sb3 import PolicyConfig


@dataclass(frozen=True, eq=False)
class TrainedPolicy:
    """The policy of a life in one of its tasks."""

    source: str
    """The run folder of the life."""
    task: TaskConfig
    learner: LearnerConfig
    config: PolicyConfig
    policy: BasePolicy
    normalization: dict[str, Any] | None
    """Statistics of its observations (`snn4.learners.sb3_state.get_normalization`)."""
    max_episode_steps: int | None
    """Of the life's evaluations."""
    life: Callable[[PolicyConfig], str]
    """The config (YAML) of a life in this task alone, with this policy."""


PolicyOf = Callable[[Path, str | None], TrainedPolicy]
"""The policy of the life in a run folder, in the task of a name; None takes the last task that it has learned."""
