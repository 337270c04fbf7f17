"""The kind ``life``: an organism in a world of environments and images; see `snn4.agent.run.kind.Kind`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from snn4.agent.config.file import ConfigError
from snn4.agent.errors import BadInput, CannotGoOn
from snn4.agent.life.config import LifeConfig, unlivable
from snn4.agent.life.config import read as read
from snn4.agent.life.initial import start
from snn4.agent.life.life import Life
from snn4.agent.life.page import sections as sections
from snn4.agent.life.page import tables as tables
from snn4.agent.life.plan import plan as plan
from snn4.agent.run import checkpoint
from snn4.agent.run.journal import RunError
from snn4.agent.run.work import OneProcess, Processes
from snn4.learners.sb3_zip import BadAgent

name = "life"
schema: type = LifeConfig
shorthands: Mapping[str, str] = {"backend": "policy.backend", "teacher": "teacher.source"}
options: Mapping[str, str | None] = {"episodes": "evaluation.test_episodes"}


def processes(config: LifeConfig) -> OneProcess:
    return OneProcess()


def prepare(config: LifeConfig, processes: Processes) -> Life:
    """ConfigError for images that cannot be read or learned, teachers that cannot teach, and weights that do not fit:
    before the first task instead of after it."""
    if any(task.data is not None for task in config.world) and (problems := list(unlivable(config, images=True))):
        raise ConfigError(config.name, problems)
    life = Life(config)
    problems = [*life.problems(), *life.teachers.problems()]
    if config.policy.initial is not None:
        problems += _start(life, config.policy.initial)
    if problems:
        raise ConfigError(config.name, problems)
    return life


def _start(life: Life, initial: str) -> list[str]:
    """Problems of the weights to start from, which become those of the beings."""
    try:
        life.notes += start(life.beings, initial)
    except (BadInput, BadAgent, CannotGoOn) as error:
        return [f"policy.initial: {' '.join(str(error).split())}"]
    return []


def evaluate(config: LifeConfig, folder: Path, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    saved = checkpoint.newest(folder)
    if saved is None:
        raise RunError(f"{folder}: has no checkpoint yet, so there is nothing to test")
    torch.set_num_threads(config.threads or 1)  # as in the run
    life = Life(config)
    life.load_state(saved.state)
    for being in life.beings:
        if being.organism.tasks:
            for _ in being.test(config.evaluation.test_episodes):
                pass
    return life.summary(), saved.notes


def about(config: LifeConfig) -> dict[str, Any]:
    return {"environments": [task.environment for task in config.world]}


def title(config: Mapping[str, Any]) -> str:
    # Early configs of version 0.1 had no names of tasks.
    tasks = dict.fromkeys(task.get("name") or task["environment"] for task in config["world"])
    return f"{config['name']}: {', '.join(tasks)}, seed {config['seed']}"
