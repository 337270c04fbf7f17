"""A stream as seen from a terminal: the accuracy matrix as it grows, SNN beside ANN twin; or plain lines."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

from rich.columns import Columns
from rich.console import Console, ConsoleRenderable, Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from snn4.agent.evaluation.matrix import retained
from snn4.agent.run.events import Began, Entered, Event, Recalled, Studied
from snn4.agent.show.bar import duration
from snn4.agent.show.dashboard import Lines, Picture, sparkline
from snn4.agent.show.stream_tables import NAMES, describe, heatmap, measure_rows, progress


class StreamLines(Lines):
    """Plain log lines of a stream."""

    def describe(self, event: Event) -> str | None:
        return describe(event)

    def progress(self, event: Event) -> str | None:
        return progress(event)


class StreamDashboard(Picture):
    """The live picture of a stream."""

    describe: Callable[[Event], str | None] = staticmethod(describe)

    def __init__(self, console: Console, live: bool = True) -> None:
        self._began: Began | None = None
        self._entered: Entered | None = None
        self._studied: Studied | None = None
        self._rows: dict[str, list[Recalled]] = defaultdict(list)
        self._pace: deque[tuple[int, float]] = deque(maxlen=20)
        """New images and seconds of the last reports."""
        super().__init__(console, live)

    def _take(self, event: Event) -> None:
        match event:
            case Began():
                self._began = event
            case Entered():
                self._entered, self._studied = event, None
            case Studied():
                before = self._studied.images if self._studied else 0
                self._pace.append((event.images - before, event.seconds))
                self._studied = event
            case Recalled():
                # A stream that goes on has been told of what it now lives again.
                self._rows[event.being] = [*self._rows[event.being][: event.learned], event]

    def _picture(self) -> ConsoleRenderable:
        beings = {name: rows for name, rows in self._rows.items() if rows}
        maps = [heatmap([row.accuracies for row in rows], NAMES[name]) for name, rows in beings.items()]
        told = {name: retained(rows) for name, rows in beings.items()}
        parts: list[ConsoleRenderable] = [self._header(), Panel(self._bar(), title="experience")]
        if maps:
            parts.append(Panel(Columns(maps, padding=(0, 4)), title="accuracy on each experience, %"))
            measures = Columns([_grid(measure_rows(told)), _curves(told)], padding=(0, 4))
            parts.append(Panel(measures, title="measures"))
        return Group(*parts, self._log_panel())

    def _header(self) -> Panel:
        name = self._began.name if self._began else "…"
        being = NAMES[self._entered.being] if self._entered else "…"
        text = "  ·  ".join((f"[b]{name}[/b]", being, f"{self._speed:,.0f} images/s", self._state))
        return Panel(Text.from_markup(text, justify="center"), title="snn4-agent", border_style="cyan")

    def _bar(self) -> Table:
        table = Table.grid(padding=(0, 1), expand=True)
        for ratio in (None, 1, None):
            table.add_column(ratio=ratio, no_wrap=True)
        if self._entered is None:
            return table
        entered, studied = self._entered, self._studied
        done, total = (studied.images, studied.total) if studied else (0, entered.steps)
        left = f"  ETA {duration((total - done) / self._speed)}" if self._speed and self._state == "running" else ""
        total_experiences = len(self._began.tasks) if self._began else entered.number + 1
        label = Text(f"{entered.number + 1} of {total_experiences}: {entered.task}", overflow="ellipsis")
        reached = f"  loss {studied.loss:.3f}, accuracy {studied.accuracy:.1%}" if studied else ""
        table.add_row(label, ProgressBar(total=total, completed=done), f"{done:,}/{total:,}{reached}{left}")
        return table

    @property
    def _speed(self) -> float:
        """Images a second, lately."""
        seconds = sum(seconds for _, seconds in self._pace)
        return sum(images for images, _ in self._pace) / seconds if seconds else 0.0


def _curves(told: Mapping[str, Mapping[str, Any]]) -> Table:
    """Average accuracy after each experience."""
    table = Table.grid(padding=(0, 1))
    table.add_row(Text("average accuracy after each experience", style="dim"))
    for name, one in told.items():
        if values := one["average_accuracies"]:
            table.add_row(Text(f"{NAMES[name]:>8} {sparkline(values, 40)} {100 * values[-1]:.1f}"))
    return table


def _grid(rows: list[list[str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    for _ in rows[0][1:]:
        table.add_column(justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
