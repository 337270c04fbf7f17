"""Pictures of a stream as SVG text: the accuracy matrix as a heatmap, and curves over experiences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from snn4.agent.pictures import BLUE, MAX_NAMED, ORANGE, few, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_matrix(matrix: Sequence[Sequence[float | None]], names: Sequence[str], title: str) -> str:
    """A score from 0 to 1 of each experience (column) at each moment (row 0: before all); None is left blank."""
    values = [[float("nan") if value is None else 100 * value for value in row] for row in matrix]
    width, height = 2.5 + 0.5 * len(names), 1.8 + 0.35 * len(values)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        image = axes.imshow(values, vmin=0, vmax=100, cmap="viridis", interpolation="nearest", aspect="auto")
        figure.colorbar(image, shrink=0.8, label="%")
        axes.set(title=title, ylabel="experiences learned", yticks=few(range(len(values))))
        if len(names) <= MAX_NAMED:
            axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=90)
        for row, column in _written(values):
            value = values[row][column]
            ink = "black" if value > 60 else "white"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=ink, size=8)

    return svg(draw, (min(width, 12), min(height, 9)), title)


def draw_lines(lines: Mapping[str, Sequence[float | None]], title: str, label: str) -> str:
    """Values after 1, 2, … experiences, the first two lines in this project's colours; None is a gap."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        longest = max((len(values) for values in lines.values()), default=0)
        for (name, values), colour in zip(lines.items(), (BLUE, ORANGE), strict=False):
            points = [float("nan") if value is None else value for value in values]
            axes.plot(range(1, len(points) + 1), points, ".-", color=colour, label=name)
        axes.set(title=title, xlabel="experiences learned", ylabel=label, xticks=few(range(1, longest + 1)))
        axes.legend()

    return svg(draw, (4.5, 3), title)


def _written(values: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Cells with their numbers in them: all of a small matrix."""
    if len(values[0]) > 20:
        return []
    return [(i, j) for i, row in enumerate(values) for j, value in enumerate(row) if value == value]


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
