"""The progress of a training in a terminal: a bar with images a second and the time that is left; lines in a pipe."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from snn4.agent.events import Began, Ended, Event, Fitted, Noted, Saved, Validated


class Bar:
    """Shows the events of a training; lines for validations, and in a terminal a bar below them."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True), console=console,
            disable=quiet or not console.is_terminal, speed_estimate_period=300,
        )  # fmt: skip
        self.speed = 0.0
        """Images a second, of the last report."""

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.progress.stop()

    def show(self, event: Event, when: datetime | None = None) -> None:
        """Draw ``event``, which happened just now unless ``when`` says otherwise."""
        if isinstance(event, Fitted):
            self._move(event)
        elif not self.quiet and (line := self._line(event)):
            stamp = (when or datetime.now().astimezone()).astimezone().strftime("%H:%M:%S")
            self.console.print(f"[dim]{stamp}[/] {line}", soft_wrap=True, highlight=False)

    def _move(self, event: Fitted) -> None:
        self.speed = event.new_images / event.seconds if event.seconds else 0.0
        steps = "" if event.T is None else f", T={event.T}"
        text = f"{event.being} epoch {event.epoch}{steps}: loss {event.loss:.3f}, accuracy {event.accuracy:.1%}"
        speed = f"{self.speed:,.0f} images/s"
        if not self.progress.tasks or self.progress.tasks[-1].fields["being"] != event.being:
            self.progress.add_task(text, total=event.total, speed=speed, being=event.being)
        bar = self.progress.tasks[-1].id
        self.progress.update(bar, description=text, completed=event.images, total=event.total, speed=speed)

    def _line(self, event: Event) -> str:
        match event:
            case Began():
                return f"{escape(event.name)}, seed {event.seed}: {escape(event.tasks[0]['environment'])}"
            case Validated():
                mark = "  [green](best)[/]" if event.best else ""
                return (
                    f"{event.being} epoch {event.epoch}: validation {event.top1:.2%}, loss {event.loss:.3f}, "
                    f"{self.speed:,.0f} images/s{mark}"
                )
            case Noted():
                return escape(event.text)
            case Saved():
                return f"[dim]saved {event.path} ({event.bytes / 1e6:.1f} MB, {event.seconds:.2f} s)[/]"
            case Ended():
                return f"training {event.state} after {event.age:,} images {escape(event.text)}".rstrip()
            case _:
                return ""
