"""The organism of a life in one of its tasks, ready to act."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3.common.policies import BasePolicy

from snn4.agent.life.config import LifeConfig, LifeTask
from snn4.agent.life.life import Life
from snn4.agent.models.files import ModelError
from snn4.agent.run import checkpoint
from snn4.agent.run.beings import ORGANISM


class Acting(NamedTuple):
    """A policy in eval mode, and the task in which it acts."""

    policy: BasePolicy
    task: LifeTask
    normalization: dict[str, Any] | None
    """Statistics of observations, where the policy sees them normalised (`VecNormalize`)."""


def acting(folder: Path, config: LifeConfig, task: str | None = None) -> Acting:
    """The organism of the life in ``folder``, as its newest checkpoint has it.

    Args:
        config: of that life.
        task: the name of one of the tasks that it has met; None takes the first.

    Raises:
        ModelError: there is no checkpoint yet, or it has not met this task.
    """
    saved = checkpoint.newest(folder)
    if saved is None:
        raise ModelError(f"{folder}: has no checkpoint yet; wait for its first validation")
    life = Life(config)
    life.load_state(saved.state)
    being = next(being for being in life.beings if being.name == ORGANISM)
    tasks = {stay.name: stay for stay in being.world.tasks if stay.name in being.organism.tasks}
    chosen = next(iter(tasks), "none") if task is None else task
    if chosen not in tasks:
        raise ModelError(f"task: got {chosen}, allowed are those that {folder} has met: {', '.join(tasks) or 'none'}")
    policy = being.policy(tasks[chosen])
    policy.set_training_mode(False)
    return Acting(policy, tasks[chosen], being.organism.tasks[chosen].normalization)
