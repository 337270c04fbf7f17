"""The progress of a training in a terminal: a bar with images a second and the time that is left; lines in a pipe."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from snn4.agent.run.events import Began, Ended, Event, Fitted, Noted, Validated

_NAMES = {"network": "network", "ann_twin": "ANN twin"}
LINE_EVERY = 60.0
"""Seconds between lines about learning where there is no bar."""


class Bar:
    """Shows the events of a training: lines, and in a terminal a bar below them."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console,
            disable=quiet or not console.is_terminal,
        )  # fmt: skip
        self._pace: deque[tuple[str, int, float]] = deque(maxlen=30)
        """Student, new images and seconds of the last reports."""
        self._told = time.monotonic()

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.progress.stop()

    def show(self, event: Event, when: datetime | None = None) -> None:
        """Draw ``event``, which happened just now unless ``when`` says otherwise."""
        if isinstance(event, Fitted):
            self._pace.append((event.being, event.new_images, event.seconds))
            self._move(event)
        line = self._line(event)
        if line and not self.quiet:
            self._told = time.monotonic()
            stamp = (when or datetime.now()).astimezone().strftime("%H:%M:%S")
            self.console.print(f"[dim]{stamp}[/] {line}", soft_wrap=True, highlight=False)

    def _move(self, event: Fitted) -> None:
        text = self._learning(event)
        if not self.progress.tasks or self.progress.tasks[-1].fields["being"] != event.being:
            self.progress.add_task(text, total=event.total, being=event.being)
        bar = self.progress.tasks[-1].id
        self.progress.update(bar, description=text, completed=event.images, total=event.total)

    def _learning(self, event: Fitted) -> str:
        steps = "" if event.T is None else f", T={event.T}"
        left = duration((event.total - event.images) / self._speed) if self._speed else "…"
        return (
            f"{_NAMES[event.being]} epoch {event.epoch}{steps}: loss {event.loss:.3f}, accuracy {event.accuracy:.1%}, "
            f"{self._speed:,.0f} images/s, ETA {left}"
        )

    @property
    def _speed(self) -> float:
        """Images a second of the student that learns."""
        mine = [(images, seconds) for being, images, seconds in self._pace if being == self._pace[-1][0]]
        seconds = sum(seconds for _, seconds in mine)
        return sum(images for images, _ in mine) / seconds if seconds else 0.0

    def _line(self, event: Event) -> str:
        match event:
            case Began():
                goes_on = f" goes on after {event.age:,} images" if event.resumed else ""
                return f"{event.name}, seed {event.seed}, learns {event.tasks[0]['environment']}{goes_on}"
            case Fitted():
                bar = self.console.is_terminal or time.monotonic() - self._told < LINE_EVERY
                return "" if bar else self._learning(event)
            case Validated():
                mark = "  [green](best)[/]" if event.best else ""
                return (
                    f"{_NAMES[event.being]} epoch {event.epoch}: validation {event.top1:.2%}, loss {event.loss:.3f}, "
                    f"{self._speed:,.0f} images/s{mark}"
                )
            case Noted():
                return escape(event.text)
            case Ended():
                return f"training {event.state} after {event.age:,} images{': ' * bool(event.text)}{escape(event.text)}"
            case _:
                return ""


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: ``0:02:05``."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
