"""A run in lines of text: one for each event, and at intervals one on learning."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime
from statistics import fmean
from typing import Protocol

from rich.console import Console
from typing_extensions import Self

from snn4.agent.run.beings import name_of
from snn4.agent.run.events import (
    Began,
    Compared,
    Ended,
    Entered,
    Evaluated,
    Event,
    Evolved,
    Learned,
    Noted,
    Saved,
    Score,
)
from snn4.agent.show.evolution_lines import evolution
from snn4.agent.show.text import duration, figure, percent, spread

ENERGY_MODEL = "45nm_fp32"
LINE_EVERY = 10.0
"""Seconds between lines about learning."""


class View(Protocol):
    """Anything that shows the events of a run, inside a ``with`` block."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, event: Event, when: datetime | None = None) -> None:
        """Take in one event, which happened at ``when`` or now."""


class Silent:
    """Shows nothing, and has nothing to open or close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event, when: datetime | None = None) -> None:
        """Show nothing."""


class Lines(Silent):
    """Plain log lines: one for every event, but for learning at most one every ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.pace = Pace()
        self._began: Began | None = None
        self._last = 0.0

    def show(self, event: Event, when: datetime | None = None) -> None:
        """Print the line of ``event``, if it gets one."""
        self.pace.take(event)
        self._began = event if isinstance(event, Began) else self._began
        line = describe(event, self._began)
        if isinstance(event, Learned) and time.monotonic() - self._last > LINE_EVERY:
            line, self._last = learning(event, self._began, self.pace), time.monotonic()
        if line:
            self.console.print(stamped(line, when), markup=False, highlight=False, soft_wrap=True)


class Pace:
    """How fast the present being learns the present task."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, float]] = deque(maxlen=20)
        self._learned: Learned | None = None
        self._when = time.monotonic()

    def take(self, event: Event) -> None:
        """Take in one event; only learning counts. The steps of a sleep are those of others."""
        if isinstance(event, (Began, Entered, Evolved)) or self._is_of_next_being(event):
            self._learned = None
            self._steps.clear()
        if isinstance(event, Learned):
            self._learned, self._when = event, time.monotonic()
            self._steps.append((event.step, event.seconds))

    def _is_of_next_being(self, event: Event) -> bool:
        """Whether the twin has begun to learn, or a stage of a conversion; no event announces these."""
        if not isinstance(event, Learned) or self._learned is None:
            return False
        return (event.being, event.task) != (self._learned.being, self._learned.task)

    @property
    def per_second(self) -> float:
        """Steps, or images, per second; 0 while that is unknown."""
        if len(self._steps) < 2:
            return 0.0
        seconds = sum(seconds for _, seconds in list(self._steps)[1:])
        return (self._steps[-1][0] - self._steps[0][0]) / seconds if seconds else 0.0

    @property
    def left(self) -> str:
        """Time to the end of the present task."""
        if self._learned is None or not self.per_second:
            return "…"
        steps = self._learned.steps - self._learned.step
        return duration(max(0.0, steps / self.per_second - (time.monotonic() - self._when)))


def stamped(line: str, when: datetime | None) -> str:
    """A line with the time of day in front."""
    return f"{(when or datetime.now()).astimezone():%H:%M:%S} {line}"


def learning(event: Learned, began: Began | None, pace: Pace) -> str:
    """One line on learning, or on a stage of a conversion, which has neither a loss nor a result."""
    unit = began.unit if began else "steps"
    if event.episode_return is None and not event.losses and began is not None and began.measure == "accuracy":
        return f"{name_of(event.being)}: {event.task} {event.step:,}/{event.steps:,}"
    steps = f"{event.step:,}/{event.steps:,} {unit}"
    epoch = "" if event.epoch is None else f", epoch {event.epoch}"
    T = "" if event.T is None else f", T = {event.T}"
    loss = f", loss {event.losses['loss']:.3f}" if "loss" in event.losses else ""
    agreement = event.losses.get("train/agreement")
    taught = "" if agreement is None else f", agreement with the teacher {percent(agreement)} %"
    speed = f", {pace.per_second:,.0f} {unit}/s, ETA {pace.left}" if pace.per_second else ""
    state = f", {text}" if (text := reached(event, began)) else ""
    return f"{name_of(event.being)} {event.task} {steps}{epoch}{T}{loss}{state}{taught}{speed}"


def reached(event: Learned, began: Began | None) -> str:
    """The present return, or accuracy, of learning; nothing if the accuracy is unknown."""
    is_accuracy = began is not None and began.measure == "accuracy"
    if event.episode_return is None:
        return "" if is_accuracy else "no episode yet"
    if is_accuracy:
        return f"accuracy {percent(event.episode_return)} %"
    return f"return {figure(event.episode_return)}"


def describe(event: Event, began: Began | None) -> str | None:
    """One line for the log; None for events without a line.

    Args:
        event: any event.
        began: the first event of the run, if it is known.
    """
    unit, measure = (began.unit, began.measure) if began else ("steps", "return")
    match event:
        case Began():
            start = f"continues after {event.age:,} {unit}" if event.resumed else "begins"
            return f"{event.name} {start}, seed {event.seed}: {_tasks(event)}"
        case Entered():
            at = f" at {event.step:,}" if event.step else ""
            return f"{name_of(event.being)} enters task {event.number}, {event.task}{at}: {event.steps:,} {unit}"
        case Evaluated():
            best = "  (best)" if event.best else ""
            scores = _accuracies(event) if measure == "accuracy" else _returns(event.scores)
            return f"{name_of(event.being)} {event.part} at {event.age:,}: {scores}{best}"
        case Evolved():
            return evolution(event)
        case Compared():
            pairs = ((task, row, event.ann_twin[task]) for task, row in event.scores.items())
            return "; ".join(_comparison(*pair, measure) for pair in pairs)
        case Saved():
            return f"saved {event.path} ({event.bytes / 1e6:.1f} MB, {event.seconds * 1e3:.0f} ms)"
        case Noted():
            return event.text
        case Ended():
            return f"run {event.state} at {event.age:,} {unit}{': ' + event.text if event.text else ''}"
    return None


def _tasks(began: Began) -> str:
    if len(began.tasks) > 6:
        return f"{len(began.tasks)} tasks, {sum(task['steps'] for task in began.tasks):,} {began.unit}"
    return " -> ".join(f"{task['environment']} ({task['steps']:,} {began.unit})" for task in began.tasks)


def _returns(scores: dict[str, Score]) -> str:
    return ", ".join(f"{name} {spread(score['return_mean'], score['return_std'])}" for name, score in scores.items())


def _accuracies(event: Evaluated) -> str:
    """The accuracy in one task, with its loss; in several tasks, first those learned, then those to come."""
    values = [score["return_mean"] for score in event.scores.values()]
    if len(values) == 1:
        (score,) = event.scores.values()
        loss = f", loss {score['loss']:.3f}" if "loss" in score else ""
        return f"{percent(values[0])} %{loss}"
    learned, to_come = values[: event.number], values[event.number :]
    known = " ".join(f"{100 * value:.0f}" for value in learned)
    mean = f"{known} % (mean {100 * fmean(learned):.1f})" if learned else ""
    unknown = " ".join(f"{100 * value:.0f}" for value in to_come)
    return "; ".join(filter(None, (mean, f"not yet learned: {unknown} %" if to_come else "")))


def _comparison(task: str, row: Score, twin: Score, measure: str) -> str:
    mean, twin_mean = row["return_mean"], twin["return_mean"]
    values = (percent(mean), percent(twin_mean)) if measure == "accuracy" else (figure(mean), figure(twin_mean))
    unit = " %" if measure == "accuracy" else ""
    joules = row["energy_joules"].get(ENERGY_MODEL)
    twin_joules = twin["energy_joules"].get(ENERGY_MODEL)
    energy = f", at {joules / twin_joules:.0%} of its energy" if joules and twin_joules else ""
    lost = [percent(score["forgetting"]) for score in (row, twin) if "forgetting" in score]
    forgetting = f", forgetting {lost[0]} against {lost[1]}" if lost else ""
    return f"{task}: {values[0]}{unit} against the ANN twin's {values[1]}{forgetting}{energy}"
