"""The parts of the dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.bar import Bar
from rich.columns import Columns
from rich.console import ConsoleRenderable, Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from snn4.agent.evaluation.matrix import retained
from snn4.agent.run.beings import name_of
from snn4.agent.run.events import Task
from snn4.agent.show.generations import gene, short_names
from snn4.agent.show.seen import Seen
from snn4.agent.show.tables import heatmap, measure_rows
from snn4.agent.show.text import figure, percent, sparkline
from snn4.agent.show.view import ENERGY_MODEL, reached

STYLES = ("green", "yellow", "blue")
"""Colours of the spiking being and its twins."""


def header(seen: Seen) -> Panel:
    """Name of the run, present being, age, speed and state."""
    unit = seen.began.unit
    latest = seen.learned or seen.entered
    being = name_of(latest.being) if latest else "…"
    age = (seen.learned or seen.began).age
    speed = f"{seen.pace.per_second:,.0f} {unit}/s"
    state = "asleep" if seen.asleep else seen.state
    text = "  ·  ".join((f"[b]{seen.began.name}[/b]", being, f"age {age:,} {unit}", speed, state))
    return Panel(Text.from_markup(text, justify="center"), title="snn4-agent", border_style="cyan")


def returns(seen: Seen, width: int) -> Panel:
    """The returns of each being during learning, and at its last evaluation."""
    rows: list[ConsoleRenderable] = []
    for (being, values), style in zip(seen.returns.items(), STYLES, strict=False):
        curve = Text(sparkline(values, max(10, width)), style=style)
        rows.append(Columns([Text(f"{name_of(being):>8} {_score(seen, values[-1]):>8} "), curve], padding=0))
    for being, scores in seen.scores.items():
        text = "  ".join(f"{task} {_score(seen, value)}" for task, value in scores.items())
        rows.append(Text(f"{name_of(being):>8} evaluated: {text}", no_wrap=True, overflow="ellipsis"))
    return Panel(Group(*rows), title=seen.began.measure)


def _score(seen: Seen, value: float) -> str:
    return f"{percent(value)} %" if seen.began.measure == "accuracy" else figure(value)


def world(seen: Seen) -> Panel:
    """Tasks in order, the progress of each, and the retention of finished ones."""
    table = _bars(texts=2)
    for number, task in enumerate(seen.began.tasks):
        done = _done(seen, number, task["steps"])
        is_present = _number(seen) == number
        label = Text(("▶ " if is_present else "  ") + task["environment"], style="bold" if is_present else "")
        remaining = f"  ETA {seen.pace.left}" if is_present and seen.state == "running" else ""
        bar = ProgressBar(total=task["steps"], completed=done)
        table.add_row(label, bar, f"{done:,}/{task['steps']:,}{remaining}", _retained(seen, number, task))
    return Panel(table, title="world")


def _bars(texts: int) -> Table:
    """A table of labels, bars and ``texts`` columns of text."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for _ in range(texts):
        table.add_column(justify="right", no_wrap=True)
    return table


def _number(seen: Seen) -> int | None:
    """Number of the present task."""
    if seen.learned is not None:
        return seen.learned.number
    return None if seen.entered is None else seen.entered.number


def _done(seen: Seen, number: int, steps: int) -> int:
    present = _number(seen)
    if present is None or number > present:
        return 0
    if number < present:
        return steps
    return min(steps, seen.learned.step if seen.learned else seen.entered.step if seen.entered else 0)


def _retained(seen: Seen, number: int, task: Task) -> str:
    """The return at the end of a finished task, and the latest one."""
    if seen.entered is None or number >= seen.entered.number:
        return ""
    being = seen.entered.being
    then = seen.left.get((being, number))
    now = seen.scores[being].get(task["environment"])
    return "" if then is None or now is None else f"{figure(then)} → {figure(now)}"


def experience(seen: Seen) -> Panel:
    """The present experience of a stream."""
    table = _bars(texts=1)
    if seen.entered is not None:
        entered, learned = seen.entered, seen.learned
        step, steps = (learned.step, learned.steps) if learned else (0, entered.steps)
        label = Text(f"{entered.number + 1} of {len(seen.began.tasks)}: {entered.task}", overflow="ellipsis")
        state = f"  {reached(learned, seen.began)}" if learned else ""
        remaining = f"  ETA {seen.pace.left}" if seen.state == "running" else ""
        table.add_row(label, ProgressBar(total=steps, completed=step), f"{step:,}/{steps:,}{state}{remaining}")
    return Panel(table, title="experience")


def matrices(seen: Seen) -> list[Panel]:
    """The accuracies after each experience of a stream, and their measures."""
    rows = {being: rows for being, rows in seen.rows.items() if rows}
    if not rows:
        return []
    summaries = {being: retained(tests) for being, tests in rows.items()}
    maps = [heatmap(summary["matrix"], name_of(being)) for being, summary in summaries.items()]
    measures = Columns([_grid(measure_rows(summaries)), _curves(summaries)], padding=(0, 4))
    return [
        Panel(Columns(maps, padding=(0, 4)), title="accuracy on each experience, %"),
        Panel(measures, title="measures"),
    ]


def _curves(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_row(Text("average accuracy after each experience", style="dim"))
    for being, summary in summaries.items():
        if values := summary["average_accuracies"]:
            table.add_row(Text(f"{name_of(being):>8} {sparkline(values, 40)} {100 * values[-1]:.1f}"))
    return table


def _grid(rows: list[list[str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    for _ in rows[0][1:]:
        table.add_column(justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def spikes(seen: Seen) -> Panel:
    """A bar per layer."""
    table = _bars(texts=1)
    for layer, rate in enumerate(seen.spike_rates):
        table.add_row(f"layer {layer}", Bar(1.0, 0, min(rate, 1.0), color="magenta"), f"{rate:.3f}")
    return Panel(table, title="spikes per neuron and step")


def energy(seen: Seen) -> Panel:
    """Joules per decision, compared with the ANN's."""
    lines = []
    for task, joules in seen.joules.items():
        twin = seen.ann_joules.get(task)
        share = f"{joules / twin:.0%} of ANN, " if twin else ""
        lines.append(Text(f"{share}{joules * 1e9:.2f} nJ {task}", no_wrap=True, overflow="ellipsis"))
    return Panel(Group(*lines), title=f"energy per decision ({ENERGY_MODEL})")


def genome(seen: Seen) -> Panel:
    """The evolvable values, as they are now."""
    genes = seen.genome
    names = short_names(genes)
    return Panel(Text("  ".join(f"{names[name]} {gene(value)}" for name, value in genes.items())), title="genome")


def log(seen: Seen) -> Panel:
    """The last events."""
    return Panel(Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in seen.log)), title="events")
