"""The live picture of a run in a terminal; plain lines in a pipe, nothing if quiet."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderResult
from rich.layout import Layout
from rich.live import Live
from typing_extensions import Self

from snn4.agent.run.events import Event
from snn4.agent.show import evolution_panels, panels
from snn4.agent.show.seen import Seen
from snn4.agent.show.view import Lines, Silent, View


class Dashboard:
    """Draws the events so far, four times a second.

    Args:
        console: where it draws.
        live: whether it draws by itself; otherwise call `render`.
    """

    def __init__(self, console: Console, live: bool = True) -> None:
        self.console, self.seen = console, Seen()
        self._lock = threading.Lock()  # a thread of its own draws the picture
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=4) if live else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, event: Event, when: datetime | None = None) -> None:
        """Take in one event, which happened at ``when`` or now."""
        with self._lock:
            self.seen.take(event, when)

    def render(self) -> ConsoleRenderable:
        """The present picture."""
        with self._lock:
            return self._stream() if self.seen.is_stream else self._world()

    def _stream(self) -> ConsoleRenderable:
        seen = self.seen
        return Group(panels.header(seen), panels.experience(seen), *panels.matrices(seen), panels.log(seen))

    def _world(self) -> ConsoleRenderable:
        seen, layout = self.seen, Layout()
        generation = seen.generations.latest
        room = _room(self.console.height) if generation else _Room(0, 10)
        layout.split_column(
            Layout(name="top", size=3), Layout(name="middle"), Layout(name="evolution", size=room.evolution),
            Layout(name="log", size=room.log),
        )  # fmt: skip
        layout["middle"].split_row(Layout(name="left", ratio=3), Layout(name="right", ratio=2))
        curves = panels.returns(seen, self.console.width * 3 // 5 - 24)
        layout["left"].split_column(Layout(curves, size=7), Layout(panels.world(seen)))
        layout["right"].split_column(
            Layout(panels.spikes(seen), size=5), Layout(panels.energy(seen), size=5), Layout(panels.genome(seen))
        )
        layout["top"].update(panels.header(seen))
        layout["log"].update(panels.log(seen))
        layout["evolution"].visible = generation is not None
        if generation is not None:
            parts = evolution_panels.population(generation), evolution_panels.state(generation)
            layout["evolution"].split_row(Layout(parts[0], ratio=3), Layout(parts[1], ratio=2))
        return _Fixed(layout, 18 + room.evolution + room.log)


class _Room(NamedTuple):
    """Lines of the lower parts of the picture."""

    evolution: int
    log: int


def _room(height: int) -> _Room:
    """The lines of evolution and log in a console of this height, in which the rest takes 18."""
    evolution = max(7, min(14, height - 18 - 5))
    return _Room(evolution, max(5, min(10, height - 18 - evolution)))


class _Fixed:
    """A layout of a fixed height, so that the live picture does not fill the screen."""

    def __init__(self, layout: Layout, height: int) -> None:
        self.layout, self.height = layout, height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = min(self.height, console.height)
        yield from console.render(self.layout, options.update(height=height))


def view(console: Console, quiet: bool = False) -> View:
    """The dashboard in a terminal, lines in a pipe, nothing if quiet."""
    if quiet:
        return Silent()
    return Dashboard(console) if console.is_terminal else Lines(console)
