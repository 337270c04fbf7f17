"""What transformations of several sorts do in the same way, each with reports: finetuning, and whole episodes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from snn4.agent.run.beings import NETWORK
from snn4.agent.run.events import Event, Learned, Score
from snn4.agent.run.work import Pause, Stop
from snn4.learners.supervised import SupervisedLearner

if TYPE_CHECKING:
    from snn4.agent.evaluation.episodes import Underway  # imports stable-baselines3

REPORT_EVERY = 2.0
"""Seconds between reports."""


def finetuning(learner: SupervisedLearner, data: str, stop: Stop) -> Iterator[Event | Pause]:
    """Learn epoch by epoch from the images of ``data``, with a pause after each."""
    total = learner.config.epochs * learner.n_batches * learner.config.batch_size
    while learner.epoch < learner.config.epochs and not learner.stopped:
        for fit in learner.learn(stop, REPORT_EVERY):
            losses = {"loss": fit.loss, "learning_rate": fit.learning_rate}
            yield Learned(
                NETWORK, data, 0, fit.images, total, learner.images, fit.accuracy, [], losses, fit.seconds, fit.epoch
            )
        yield Pause()


def playing(being: str, episodes: Generator[Underway, None, Score], age: int) -> Generator[Event, None, Score]:
    """Whole episodes, as ``evaluation`` plays them; the value is theirs."""
    started = time.perf_counter()
    while True:
        try:
            underway = next(episodes)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        seconds = time.perf_counter() - started
        yield Learned(being, "episodes", 0, underway.done, underway.episodes, age, None, [], {}, seconds)
        started = time.perf_counter()
