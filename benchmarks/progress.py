"""Progress of a long measurement: a bar on a terminal, else a line for each part, with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

Part = TypeVar("Part")


class Now(NamedTuple):
    """The part that is being measured."""

    text: str
    """What it does."""
    share: float
    """How much of it is done, from 0 to 1."""


class Forecast:
    """Expected durations of parts: the last duration, or the mean of other parts.

    Args:
        seconds: of each part; None if unknown.
    """

    def __init__(self, seconds: Mapping[str, float | None]) -> None:
        self._seconds = {name: duration for name, duration in seconds.items() if duration is not None}

    def learn(self, name: str, seconds: float) -> None:
        self._seconds[name] = seconds

    def left(self, names: Sequence[str], running: float = 0.0, share: float = 0.0) -> float | None:
        """Seconds for ``names``, of which the first has run for ``running`` seconds; None if no duration is known.

        ``share`` is the finished share of the first, which counts if its duration is unknown.
        """
        seconds = dict(self._seconds)
        if share and names[0] not in seconds:
            seconds[names[0]] = running / share
        if not seconds:
            return None
        mean = sum(seconds.values()) / len(seconds)
        first, *others = [seconds.get(name, mean) for name in names] or [0.0]
        return max(first - running, 0.0) + sum(others)


def watched(
    names: Sequence[str], parts: Iterable[Part], forecast: Forecast, console: Console, jobs: int = 1,
    now: Callable[[], Now | None] = lambda: None, least: float = 0.0,
) -> Iterator[tuple[str, Part, float]]:  # fmt: skip
    """Each of ``parts`` with its name and the seconds that it took.

    Args:
        names: of the parts, in order.
        parts: each is measured when it is drawn.
        forecast: learns the durations.
        console: shows a bar on a terminal, else a line before each part.
        jobs: parts that are measured at the same time.
        now: what is going on, for the bar.
        least: seconds below which a part teaches the forecast nothing, because it was kept from an earlier call.
    """
    with _bar(names, forecast, console, jobs, now) as bar:
        task = bar.add_task("", total=len(names), started=0.0)
        drawn = iter(parts)
        for number, name in enumerate(names):
            started = time.monotonic()
            bar.update(task, description=name, completed=number, started=started)
            if not console.is_terminal:
                left = duration(_shared(forecast.left(names[number:]), jobs))
                console.print(f"{name}: {number + 1} of {len(names)}, ETA {left}", soft_wrap=True, highlight=False)
            part = next(drawn)
            seconds = time.monotonic() - started
            if seconds >= least:
                forecast.learn(name, seconds)
            yield name, part, seconds
        bar.update(task, completed=len(names))


def _bar(
    names: Sequence[str], forecast: Forecast, console: Console, jobs: int, now: Callable[[], Now | None]
) -> Progress:
    class Left(ProgressColumn):
        max_refresh = 1.0

        def render(self, task: Task) -> Text:
            present, running = now(), time.monotonic() - task.fields["started"]
            left = forecast.left(names[int(task.completed) :], running, present.share if present else 0.0)
            doing = f"  {present.text}" if present else ""
            return Text(f"ETA {duration(_shared(left, jobs))}{doing}", no_wrap=True, overflow="ellipsis")

    columns = TextColumn("{task.description}"), BarColumn(10), MofNCompleteColumn(), Left()
    return Progress(*columns, console=console, disable=not console.is_terminal, refresh_per_second=2)


def _shared(seconds: float | None, jobs: int) -> float | None:
    return None if seconds is None else seconds / jobs


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds: ``0:02:05``."""
    if seconds is None:
        return "unknown"
    minutes, remainder = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{remainder:02d}"
