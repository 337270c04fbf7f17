"""The policy of a life, for runs of other kinds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from stable_baselines3.common.policies import BasePolicy

from snn4.agent.config.file import dump, read
from snn4.agent.life import kind
from snn4.agent.life.config import LifeConfig, LifeTask
from snn4.agent.life.initial import LIFE
from snn4.agent.life.lived import Lived, NotLived
from snn4.agent.models.policies import TrainedPolicy
from snn4.agent.run.beings import ORGANISM
from snn4.learners.algorithms import make_policy
from snn4.policies.sb3 import PolicyConfig


def trained_policy(folder: Path, name: str | None) -> TrainedPolicy:
    """The organism's policy of the life in ``folder``, in the task ``name``; None takes the last one.

    ``folder`` may also be that of a compression, whose policy is the one with which its ``life.yaml`` begins.

    Raises:
        NotLived, RunError, ConfigError, Damaged: there is none, or it cannot be read.
    """
    if (folder / LIFE).is_file():
        return _compressed(folder, name)
    life = Lived.of(folder)
    organism, config = life.organism(ORGANISM), life.config_of(ORGANISM)
    task = _task(life, name, set(organism.tasks))
    policy_config = task.policy(organism.config)
    env = task.make(1)
    policy = make_policy(config.learner_of(task), policy_config, env)
    env.close()
    organism.prepare(task.name, policy)
    normalization = organism.tasks[task.name].normalization
    return _trained(folder, config, task, policy_config, policy, normalization)


def _compressed(folder: Path, name: str | None) -> TrainedPolicy:
    changes = [f"policy.initial={json.dumps(str(folder))}"]
    config = kind.read(*read(folder / LIFE), changes)
    being = kind.prepare(config, kind.processes(config)).beings[0]
    task = being.world.tasks[0]
    if name not in (None, task.name, task.label):
        raise NotLived(f"task: got {name!r}, allowed is {task.name}, that of {folder}")
    normalization = being.organism.tasks[task.name].normalization
    return _trained(folder, config, task, config.policy, being.policy(task), normalization)


def _trained(
    folder: Path, config: LifeConfig, task: LifeTask, policy_config: PolicyConfig, policy: BasePolicy,
    normalization: dict[str, Any] | None,
) -> TrainedPolicy:  # fmt: skip
    policy.set_training_mode(False)
    return TrainedPolicy(
        str(folder), task, config.learner_of(task), policy_config, policy, normalization,
        config.evaluation.max_episode_steps, lambda changed: _alone(config, task, changed),
    )  # fmt: skip


def _task(life: Lived, name: str | None, learned: set[str]) -> LifeTask:
    acting = [task for task in life.config.world if task.data is None and task.name in learned]
    named = [task for task in acting if name in (None, task.name, task.label)]
    if not acting:
        raise NotLived(f"{life.folder}: has learned no environment yet, allowed is a life with a policy of one")
    if not named:
        names = ", ".join(dict.fromkeys(task.name for task in acting))
        raise NotLived(f"task: got {name!r}, allowed are those that {life.folder} has learned: {names}")
    return named[-1]


def _alone(config: LifeConfig, task: LifeTask, policy: PolicyConfig) -> str:
    """``config`` in the world of ``task`` alone, with ``policy``, without twins and evolution."""
    plain = dataclasses.replace(task, coding=None, encoder=None, teacher=None)
    return dump(
        dataclasses.replace(
            config, name=f"{config.name}-on", world=(plain,), policy=policy, teacher=None, evolution=None,
            ann_twin=False, relu_twin=False,
        )
    )  # fmt: skip
