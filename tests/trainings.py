"""Trainings as stories, and when they are asked to stop."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from stories import Story

from snn4.agent import kinds
from snn4.agent.training.config import TrainingConfig
from snn4.agent.training.training import Training


def begin(config: TrainingConfig, folder: Path) -> Story:
    kind = kinds.named("training")
    return Story(kind.prepare(config, kind.processes(config)), folder)


def training_of(story: Story) -> Training:
    assert isinstance(story.work, Training)
    return story.work


def at(batch: int) -> Callable[[], bool]:
    """Asks to stop after so many batches."""
    asked = itertools.count(1)
    return lambda: next(asked) == batch
