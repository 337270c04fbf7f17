"""Tables of any run: rows of text for any medium, and their forms for terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from snn4.agent.run.beings import name_of
from snn4.agent.show.text import percent, prefixed

_PERCENTS = {
    "average_accuracy": "average {}, %", "average_incremental_accuracy": "average incremental {}, %",
    "forgetting": "forgetting, %", "backward_transfer": "backward transfer, %",
    "forward_transfer": "forward transfer, %",
}  # fmt: skip
_RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Red, green and blue from 0 to 1, as matplotlib's viridis."""


def measure_rows(summaries: Mapping[str, Mapping[str, Any]], what: str = "accuracy") -> list[list[str]]:
    """One measure per row, one being per column; the first row names the columns.

    Args:
        summaries: from `snn4.agent.evaluation.matrix.retained`, by being; may contain costs per decision.
        what: the measured quantity.
    """
    beings = list(summaries.values())
    rows = [[label.format(what), *(percent(being[key]) for being in beings)] for key, label in _PERCENTS.items()]
    for key, unit in {"memory_bytes": "memory, bytes", "replay_bytes": "of these samples, bytes"}.items():
        rows.append([unit, *("-" if being[key] is None else f"{being[key]:,}" for being in beings)])
    if all("energy_joules" in being for being in beings):
        rows.append(["spikes per decision", *(f"{being['spikes_per_decision']:,.0f}" for being in beings)])
        rows += [
            [f"{model} J per decision", *(prefixed(being["energy_joules"].get(model)) for being in beings)]
            for model in ("45nm_fp32", "45nm_int8", "45nm_int8_memory")
        ]
    return [["", *map(name_of, summaries)], *rows]


def heatmap(matrix: Sequence[Sequence[float]], title: str) -> Table:
    """A row for each moment, a column for each experience, in percent; unlearned experiences have no colour."""
    table = Table(title=title, box=None, padding=0, pad_edge=False, title_style="bold", header_style="dim")
    table.add_column("after ", justify="right", no_wrap=True)
    for number in range(len(matrix[0])):
        table.add_column(f"{number + 1:>3} ", justify="right", no_wrap=True)
    for learned, row in enumerate(matrix):
        cells = [_cell(value, known=number < learned) for number, value in enumerate(row)]
        table.add_row(Text(f"{learned} ", style="dim"), *cells)
    return table


def _cell(value: float, known: bool) -> Text:
    text = f"{100 * value:>3.0f} "
    if not known:
        return Text(text, style="dim")
    red, green, blue = _colour(value)
    ink = "black" if value > 0.6 else "white"
    return Text(text, style=f"{ink} on rgb({red},{green},{blue})")


def _colour(value: float) -> tuple[int, int, int]:
    place = max(0.0, min(value, 1.0)) * (len(_RAMP) - 1)
    low = min(int(place), len(_RAMP) - 2)
    red, green, blue = (round(a + (b - a) * (place - low)) for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True))
    return red, green, blue


def rich_table(rows: Sequence[Sequence[str]], title: str, apart: int = 0) -> Table:
    """A table for terminals: names on the left, numbers on the right, and a line above the last ``apart`` rows."""
    table = Table(title=title, pad_edge=False)
    for number, name in enumerate(rows[0]):
        table.add_column(Text(name), justify="right" if number else "left", no_wrap=bool(number))
    for number, row in enumerate(rows[1:], start=1):
        table.add_row(*map(Text, row), end_section=number == len(rows) - 1 - apart)
    return table


class Fitting:
    """The first of several forms of a table that fits into the terminal, or else the last one; ``framed`` or plain."""

    def __init__(self, title: str, *forms: Sequence[Sequence[str]], folded: bool = False, framed: bool = False) -> None:
        self.title, self.forms, self.folded, self.framed = title, forms, folded, framed

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unlimited = options.update(width=1000)
        tables = [
            rich_table(rows, self.title) if self.framed else _table(rows, self.title, self.folded)
            for rows in self.forms
        ]
        fitting = (table for table in tables if console.measure(table, options=unlimited).maximum <= options.max_width)
        yield next(fitting, tables[-1])


def _table(rows: Sequence[Sequence[str]], title: str, folded: bool) -> Table:
    """With ``folded``, long names in the first column wrap, so that no number is cut off."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(rows[0]):
        heading = Text(name.replace(" ", "\n") if number else name)
        folds = folded and not number
        table.add_column(
            heading, justify="right" if number else "left", no_wrap=not folds, vertical="bottom",
            overflow="fold" if folds else "ellipsis",
        )  # fmt: skip
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    return table
