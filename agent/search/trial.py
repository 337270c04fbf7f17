"""A trial: a candidate lives a whole run in memory, and is measured on validation data; those chosen, on test data."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from snn4.agent.errors import BadInput
from snn4.agent.evolution.objectives import Silent, by_objective
from snn4.agent.run.events import Evaluated, Score
from snn4.agent.run.kind import Kind
from snn4.agent.run.work import Stop, Validated, Work
from snn4.learners.not_finite import NotFinite

KEPT = (
    "return_mean", "return_std", "episodes", "spikes_per_decision", "effective_acs", "effective_macs", "energy_joules",
    "parameters", "footprint_bytes", "connection_sparsity", "activation_sparsity", "dense_macs", "neuron_macs",
    "neuron_acs",
)  # fmt: skip
"""What is kept of a test score."""
KindOf = Callable[[dict[str, Any], str], Kind]
"""The kind of a raw config from a source: a function of a module, since other processes call it too."""


@dataclass(frozen=True)
class Job:
    """A config that is to be lived."""

    kind_of: KindOf
    kind: str
    config: Any
    objectives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a candidate has reached on validation data."""

    scores: dict[str, float]
    """By objective, the mean over its tasks; none after a failure."""
    steps: int
    """Environment steps, or images, learned."""
    seconds: float
    failure: str | None = None
    """Why it has no scores: its weights are not finite, no neuron spikes, or its genes do not fit the data."""


@dataclass(frozen=True)
class Tested:
    """What a run has reached on test data."""

    scores: dict[str, dict[str, Score]]
    """By being and task."""
    steps: int
    seconds: float
    failure: str | None = None

    @property
    def first(self) -> dict[str, Score]:
        """Of the spiking being."""
        return next(iter(self.scores.values()), {})


def validated(job: Job) -> Outcome | None:
    """Live without twins, up to the test; None if the run was asked to stop."""
    started = time.perf_counter()
    work: Work | None = None
    scores: dict[str, Score] = {}
    failure = None
    try:
        work = _work(job, ann_twin=False, relu_twin=False, evaluate_on="validation")
        found = cast(Validated, work).validated(_asked)
        if found is None:
            return None
        scores = found
    except (NotFinite, Silent, BadInput) as error:
        failure = " ".join(str(error).split())
    steps = 0 if work is None else work.age
    means = by_objective(scores, job.objectives) if failure is None else {}
    return Outcome(means, steps, time.perf_counter() - started, failure)


def tested(job: Job) -> Tested | None:
    """Live to the end; None if the run was asked to stop."""
    started = time.perf_counter()
    work = _work(job, evaluate_on="test")
    scores: dict[str, dict[str, Score]] = {}
    failure = None
    try:
        for part in work.live(_asked):
            if isinstance(part, Evaluated) and part.part == "test":  # a stream has one after each experience
                scores[part.being] = {task: _short(score) for task, score in part.scores.items()}
    except NotFinite as error:
        failure = str(error)
    if failure is None and not work.finished:
        return None
    return Tested(scores, work.age, time.perf_counter() - started, failure)


def _short(score: Score) -> Score:
    return {name: score[name] for name in KEPT if name in score}


def _work(job: Job, **changes: Any) -> Work:
    kind = job.kind_of({"kind": job.kind}, job.kind)
    config = changed(job.config, threads=job.config.threads or 1, **changes)
    return kind.prepare(config, kind.processes(config))


def changed(config: Any, **values: Any) -> Any:
    """``config`` with those of ``values`` for which it has fields."""
    names = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **{name: value for name, value in values.items() if name in names})


_stop: Stop = lambda: False  # noqa: E731


def _asked() -> bool:
    return _stop()


@contextmanager
def stoppable(stop: Stop) -> Iterator[None]:
    """Let ``stop`` also end a trial that runs in this process; other processes are ended by their workers."""
    global _stop
    before, _stop = _stop, stop
    try:
        yield
    finally:
        _stop = before
