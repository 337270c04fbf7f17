"""The life as seen from a terminal: a live picture (rich), or plain lines where there is no terminal."""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

from rich.bar import Bar
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderResult
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from snn4.agent.run.events import Began, Compared, Ended, Entered, Evaluated, Event, Learned, Noted, Saved, Score

ENERGY_MODEL = "45nm_fp32"
_NAMES = {"organism": "organism", "ann_twin": "ANN twin"}


class View(Protocol):
    """Anything that is shown a life's events, inside a ``with`` block."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def show(self, event: Event, when: datetime | None = None) -> None:
        """Take one event in; ``when`` it happened, if not now."""


def describe(event: Event) -> str | None:
    """One line for the log; None for events that need none."""
    match event:
        case Began():
            stay = " -> ".join(f"{t['environment']} ({t['steps']:,} steps)" for t in event.tasks)
            return f"{event.name} {'goes on' if event.resumed else 'is born'}, seed {event.seed}: {stay}"
        case Entered():
            return f"{_NAMES[event.being]} enters task {event.number}, {event.task}, at step {event.step:,}"
        case Evaluated():
            scores = ", ".join(
                f"{n} {figure(s['return_mean'])} ± {figure(s['return_std'])}" for n, s in event.scores.items()
            )
            stage = "test" if event.final else "validation"
            return f"{_NAMES[event.being]} {stage} at {event.age:,}: {scores}{'  (best)' if event.best else ''}"
        case Compared():
            return "; ".join(_comparison(name, row, event.ann_twin[name]) for name, row in event.scores.items())
        case Saved():
            return f"saved {event.path} ({event.bytes / 1e6:.1f} MB, {event.seconds * 1e3:.0f} ms)"
        case Noted():
            return event.text
        case Ended():
            return f"life {event.state} at {event.age:,} steps{': ' + event.text if event.text else ''}"
    return None


class Lines:
    """Plain log lines: every event but learning, of which at most one line in ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event, when: datetime | None = None) -> None:
        line = self.describe(event)
        if line is None and time.monotonic() - self._last > 10 and (line := self.progress(event)):
            self._last = time.monotonic()
        if line:
            stamp = (when or datetime.now()).astimezone().strftime("%H:%M:%S")
            self.console.print(f"{stamp} {line}", markup=False, highlight=False, soft_wrap=True)

    def describe(self, event: Event) -> str | None:
        """A line for an event that always gets one."""
        return describe(event)

    def progress(self, event: Event) -> str | None:
        """A line for one of those that there are many of."""
        if not isinstance(event, Learned):
            return None
        reached = "no episode yet" if event.episode_return is None else f"return {figure(event.episode_return)}"
        return f"{_NAMES[event.being]} {event.task} {event.step:,}/{event.steps:,} steps, {reached}"


class Picture:
    """A live picture. It keeps nothing but what it has been shown, so it can replay any journal."""

    describe: Callable[[Event], str | None] = staticmethod(describe)
    """What the log says of an event."""

    def __init__(self, console: Console, live: bool = True) -> None:
        self.console = console
        self._log: deque[str] = deque(maxlen=8)
        self._state = "running"
        self._lock = threading.Lock()  # the picture is drawn by a thread of its own
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=4) if live else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        tb: TracebackType | None = None,
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, tb)

    def show(self, event: Event, when: datetime | None = None) -> None:
        with self._lock:
            line = self.describe(event)
            if line:
                self._log.append(f"{(when or datetime.now()).astimezone():%H:%M:%S} {line}")
            if isinstance(event, Ended):
                self._state = event.state
            self._take(event)

    def render(self) -> ConsoleRenderable:
        """The picture now."""
        with self._lock:
            return self._picture()

    def _take(self, event: Event) -> None:
        """Remember what the picture needs of ``event``."""
        raise NotImplementedError

    def _picture(self) -> ConsoleRenderable:
        raise NotImplementedError

    def _log_panel(self) -> Panel:
        return Panel(Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in self._log)), title="events")


class Dashboard(Picture):
    """The live picture of a life in environments."""

    def __init__(self, console: Console, live: bool = True) -> None:
        self._began: Began | None = None
        self._entered: Entered | None = None
        self._learned: Learned | None = None
        self._returns: dict[str, list[float]] = defaultdict(list)
        self._validated: dict[str, dict[str, float]] = defaultdict(dict)
        self._left: dict[tuple[str, int], float] = {}
        self._energy: dict[str, float] = {}
        self._ann_energy: dict[str, float] = {}
        self._spike_rates: list[float] = []
        self._pace: deque[tuple[int, float]] = deque(maxlen=20)
        self._last = time.monotonic()
        super().__init__(console, live)

    def _take(self, event: Event) -> None:
        match event:
            case Began():
                self._began = event
            case Entered():
                self._entered, self._learned = event, None
                self._pace.clear()
                self._note_ann_energy(event.task, event.ann_energy_joules.get(ENERGY_MODEL))
            case Learned():
                self._learned, self._last = event, time.monotonic()
                self._spike_rates = event.spike_rates or self._spike_rates  # the twin has none: the organism's stay
                self._pace.append((event.step, event.seconds))
                if event.episode_return is not None:
                    self._returns[event.being].append(event.episode_return)
            case Evaluated():
                self._take_scores(event)

    def _take_scores(self, event: Evaluated) -> None:
        if event.best and self._entered is not None:
            self._left[event.being, self._entered.number] = event.scores[event.task]["return_mean"]
        for task, score in event.scores.items():
            self._validated[event.being][task] = score["return_mean"]
            energy = score["energy_joules"][ENERGY_MODEL]
            if event.being == "organism":
                self._energy[task] = energy
            else:
                self._note_ann_energy(task, energy)

    def _note_ann_energy(self, task: str, joules: float | None) -> None:
        if joules is not None:
            self._ann_energy[task] = joules

    def _picture(self) -> ConsoleRenderable:
        layout = Layout()
        layout.split_column(Layout(name="top", size=3), Layout(name="middle"), Layout(name="log", size=10))
        layout["middle"].split_row(Layout(name="left", ratio=3), Layout(name="right", ratio=2))
        layout["left"].split_column(Layout(self._return_panel(), size=7), Layout(self._world_panel()))
        layout["right"].split_column(
            Layout(self._spikes_panel(), size=5), Layout(self._energy_panel(), size=5), Layout(self._genome_panel())
        )
        layout["top"].update(self._header())
        layout["log"].update(self._log_panel())
        return _Fixed(layout, 28)

    def _header(self) -> Panel:
        name = self._began.name if self._began else "…"
        being = _NAMES[self._entered.being] if self._entered else "…"
        age = self._learned.age if self._learned else (self._began.age if self._began else 0)
        speed = f"{self._steps_per_second():,.0f} steps/s"
        text = "  ·  ".join((f"[b]{name}[/b]", being, f"age {age:,} steps", speed, self._state))
        return Panel(Text.from_markup(text, justify="center"), title="snn4-agent", border_style="cyan")

    def _return_panel(self) -> Panel:
        rows: list[ConsoleRenderable] = []
        for being, style in (("organism", "green"), ("ann_twin", "yellow")):
            values = self._returns.get(being, [])
            if values:
                width = max(10, self.console.width * 3 // 5 - 24)
                curve = Text(sparkline(values, width), style=style)
                rows.append(Columns([Text(f"{_NAMES[being]:>8} {values[-1]:8.1f} "), curve], padding=0))
        for being, scores in self._validated.items():
            text = "  ".join(f"{task} {figure(value)}" for task, value in scores.items())
            rows.append(Text(f"{_NAMES[being]:>8} evaluated: {text}", no_wrap=True, overflow="ellipsis"))
        return Panel(Group(*rows), title="return")

    def _world_panel(self) -> Panel:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        for number, task in enumerate(self._began.tasks if self._began else []):
            done = self._done(number, task["steps"])
            here = self._entered is not None and self._entered.number == number
            label = Text(("▶ " if here else "  ") + task["environment"], style="bold" if here else "")
            text = f"{done:,}/{task['steps']:,}" + (f"  ETA {self._eta()}" if here and self._state == "running" else "")
            table.add_row(label, ProgressBar(total=task["steps"], completed=done), text, self._retained(number, task))
        return Panel(table, title="world")

    def _retained(self, number: int, task: dict[str, Any]) -> str:
        """The return with which a finished stay was left, and that of today."""
        if self._entered is None or number >= self._entered.number:
            return ""
        being = self._entered.being
        left, now = self._left.get((being, number)), self._validated[being].get(task["environment"])
        return "" if left is None or now is None else f"{figure(left)} → {figure(now)}"

    def _spikes_panel(self) -> Panel:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(justify="right", no_wrap=True)
        for layer, rate in enumerate(self._spike_rates):
            table.add_row(f"layer {layer}", Bar(1.0, 0, min(rate, 1.0), color="magenta"), f"{rate:.3f}")
        return Panel(table, title="spikes a neuron and step")

    def _energy_panel(self) -> Panel:
        lines = []
        for task, joules in self._energy.items():
            twin = self._ann_energy.get(task)
            share = f"{joules / twin:.0%} of ANN, " if twin else ""
            lines.append(Text(f"{share}{joules * 1e9:.2f} nJ {task}", no_wrap=True, overflow="ellipsis"))
        return Panel(Group(*lines), title=f"energy a decision ({ENERGY_MODEL})")

    def _genome_panel(self) -> Panel:
        genome = self._began.genome if self._began else {}
        return Panel(Text("  ".join(f"{name} {value:g}" for name, value in genome.items())), title="genome")

    def _done(self, number: int, steps: int) -> int:
        if self._entered is None or number > self._entered.number:
            return 0
        if number < self._entered.number:
            return steps
        return min(steps, self._learned.step if self._learned else self._entered.step)

    def _steps_per_second(self) -> float:
        if len(self._pace) < 2:
            return 0.0
        seconds = sum(seconds for _, seconds in list(self._pace)[1:])
        return (self._pace[-1][0] - self._pace[0][0]) / seconds if seconds else 0.0

    def _eta(self) -> str:
        speed = self._steps_per_second()
        if not speed or self._learned is None:
            return "…"
        left = (self._learned.steps - self._learned.step) / speed - (time.monotonic() - self._last)
        minutes, seconds = divmod(max(0, round(left)), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


class _Fixed:
    """A layout of a fixed height, so that a live picture does not fill the screen."""

    def __init__(self, layout: Layout, height: int) -> None:
        self.layout, self.height = layout, height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = min(self.height, console.height)
        yield from console.render(self.layout, options.update(height=height))


def sparkline(values: list[float], width: int) -> str:
    """``values`` as ``width`` block characters, each the mean of its share, from the lowest to the highest.

    >>> sparkline([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8)
    '▁▂▃▄▅▆▇█'
    """
    width = min(width, len(values))
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (m - low) / (high - low)) if high > low else 3] for m in means)


def figure(value: float) -> str:
    """A return with one digit, or three where it is a fraction, as accuracy is."""
    return f"{value:.3f}" if 0 < abs(value) < 1 else f"{value:.1f}"


def _comparison(task: str, row: Score, twin: Score) -> str:
    mine, its = row["energy_joules"][ENERGY_MODEL], twin["energy_joules"][ENERGY_MODEL]
    returns = f"{figure(row['return_mean'])} against the ANN twin's {figure(twin['return_mean'])}"
    return f"{task}: {returns}, at {mine / its:.0%} of its energy"
