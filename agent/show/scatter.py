"""A scatter plot in characters, for terminals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from snn4.agent.show.text import amount

LEAST = 2
"""Columns, or lines, of the smallest plot that says anything."""


@dataclass(frozen=True)
class Mark:
    """A point of the plot."""

    x: float
    y: float
    character: str
    style: str = ""


@dataclass(frozen=True)
class Scatter:
    """Marks in as many columns and lines as there is room for; later ones cover earlier ones.

    Args:
        marks: at least one.
        x_name, y_name: names of the axes.
        log: whether x, which is then above 0, has a log scale.
        height: lines where the room has no height.
    """

    marks: Sequence[Mark]
    x_name: str
    y_name: str
    log: bool = False
    height: int = 10

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options.max_width, options.height or self.height)

    def lines(self, width: int, height: int) -> list[Text]:
        """The plot, with the ends of both axes."""
        low, high = _ends([mark.y for mark in self.marks])
        gutter = max(len(low), len(high))
        columns, rows = width - gutter - 2, height - 2  # a name above, the ends of x below
        if columns < LEAST or rows < LEAST:
            return []
        labels = [high, *[""] * (rows - 2), low]
        body = [
            Text(f"{label:>{gutter}} ┤" if label else f"{'':>{gutter}} │").append_text(line)
            for label, line in zip(labels, self._grid(columns, rows), strict=True)
        ]
        name = Text(self.y_name, style="dim", no_wrap=True, overflow="ellipsis")
        return [name, *body, self._x_axis(gutter, columns)]

    def _grid(self, columns: int, rows: int) -> list[Text]:
        across = _places([math.log(mark.x) if self.log else mark.x for mark in self.marks], columns)
        up = _places([mark.y for mark in self.marks], rows)
        cells = {(rows - 1 - row, column): mark for mark, column, row in zip(self.marks, across, up, strict=True)}
        lines = []
        for row in range(rows):
            line = Text()
            for column in range(columns):
                mark = cells.get((row, column))
                line.append(mark.character if mark else " ", style=mark.style if mark else "")
            lines.append(line)
        return lines

    def _x_axis(self, gutter: int, columns: int) -> Text:
        """The ends of x, and its name between them if there is room for it."""
        low, high = _ends([mark.x for mark in self.marks])
        name = f"{self.x_name}{' (log)' if self.log else ''}"
        room = columns - len(low) - len(high)
        middle = f"{name if len(name) + 2 <= room else '':^{max(1, room)}}"
        return Text(f"{'':>{gutter}}  {low}{middle}{high}", style="dim", no_wrap=True, overflow="crop")


def _ends(values: Sequence[float]) -> tuple[str, str]:
    return amount(min(values)), amount(max(values))


def _places(values: Sequence[float], size: int) -> list[int]:
    """The cell of each value: the lowest in the first one, the highest in the last; in the middle if all are equal."""
    low, high = min(values), max(values)
    return [round((value - low) / (high - low) * (size - 1)) if high > low else size // 2 for value in values]
