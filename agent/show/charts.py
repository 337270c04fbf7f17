"""Charts as SVG text that take the text colour of the page around them, light or dark."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn4.agent.errors import BadInput, why

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Placeholder for the colour of the page's text; used for nothing else."""
BLUE, ORANGE, GREEN, PURPLE = "#4c8bf5", "#e8833a", "#3fa66b", "#b565c9"  # readable on white and on black
_COLOURS = (BLUE, ORANGE, GREEN)
"""Colours of the spiking being and its twins."""
_STYLE: dict[str, Any] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.facecolor": "none", "figure.facecolor": "none", "legend.framealpha": 0.0, "font.size": 10.0,
    "axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True,
    "svg.fonttype": "none", "svg.hashsalt": "snn4",  # text stays text; equal results give equal files
    "text.parse_math": False,  # a class may be named "$x"
}  # fmt: skip
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_FOLDER: ContextVar[Path | None] = ContextVar("folder", default=None)
"""Where charts are kept in files, too."""
MAX_NAMED = 30
"""Above this number of classes, names and numbers are left out."""


def svg(draw: Callable[[Figure], None], size: tuple[float, float], label: str) -> str:
    """An ``<svg>`` element for HTML, of ``size`` inches, with unique ids and the page's text colour."""
    import matplotlib
    from matplotlib.figure import Figure

    text = io.StringIO()
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=size)  # without pyplot, which would keep it in memory
        draw(figure)
        figure.savefig(text, format="svg", metadata=_NO_METADATA)
    if (folder := _FOLDER.get()) is not None:
        _keep(draw, size, label, folder)
    body = text.getvalue()
    body = body[body.index("<svg") :].replace(INK, "currentColor")
    unique = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>p{zlib.crc32(label.encode())}-", body)
    return unique.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


@contextmanager
def kept_in(folder: Path | None) -> Iterator[None]:
    """Write every chart that is drawn inside also to files in ``folder``, which is made; None writes none.

    Raises:
        BadInput: it exists, or cannot be made.
    """
    if folder is not None:
        try:
            folder.mkdir()
        except OSError as error:
            raise BadInput(f"--figures: cannot make {folder} ({why(error)}); name a new folder") from error
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def _keep(draw: Callable[[Figure], None], size: tuple[float, float], label: str, folder: Path) -> None:
    """Black on white, for papers and slides."""
    import matplotlib
    from matplotlib.figure import Figure

    name = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:60]
    stem = f"{len(list(folder.glob('*.svg'))) + 1:02d}-{name}"
    paper = {**{key: "black" if value == INK else value for key, value in _STYLE.items()}, "figure.facecolor": "white"}
    with matplotlib.rc_context(paper):  # type: ignore[arg-type]
        figure = Figure(figsize=size)
        draw(figure)
        figure.savefig(folder / f"{stem}.svg", metadata=_NO_METADATA)
        figure.savefig(folder / f"{stem}.png", dpi=200)


def few(steps: range) -> list[int]:
    """At most ten ticks."""
    return list(steps[:: max(1, -(-len(steps) // 10))])


def draw_curve(name: str, values: Sequence[float | None]) -> str:
    """Values over epochs; None is a gap."""
    points = [float("nan") if value is None else value for value in values]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(range(1, len(points) + 1), points, ".-", color=BLUE)
        axes.set(title=name, xlabel="epoch", xticks=few(range(1, len(points) + 1)))

    return svg(draw, (4, 3), f"{name} over epochs")


def draw_matrix(
    matrix: Sequence[Sequence[float | None]], names: Sequence[str], title: str, moments: str = "experiences learned"
) -> str:
    """Scores from 0 to 1 of each experience (column) at each moment (row; 0 is before all); None is left blank."""
    values = [[float("nan") if value is None else 100 * value for value in row] for row in matrix]
    width, height = 2.5 + 0.5 * len(names), 1.8 + 0.35 * len(values)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        image = axes.imshow(values, vmin=0, vmax=100, cmap="viridis", interpolation="nearest", aspect="auto")
        figure.colorbar(image, shrink=0.8, label="%")
        axes.set(title=title, ylabel=moments, yticks=few(range(len(values))))
        if len(names) <= MAX_NAMED:
            axes.set_xticks(range(len(names)), [_short(name) for name in names], rotation=90)
        for row, column in _written(values):
            value = values[row][column]
            ink = "black" if value > 60 else "white"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=ink, size=8)

    return svg(draw, (min(width, 12), min(height, 9)), title)


def draw_lines(lines: Mapping[str, Sequence[float | None]], title: str, label: str) -> str:
    """Values after 1, 2, … experiences; None is a gap."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        longest = max((len(values) for values in lines.values()), default=0)
        for (name, values), colour in zip(lines.items(), _COLOURS, strict=False):
            points = [float("nan") if value is None else value for value in values]
            axes.plot(range(1, len(points) + 1), points, ".-", color=colour, label=name)
        axes.set(title=title, xlabel="experiences learned", ylabel=label, xticks=few(range(1, longest + 1)))
        axes.legend()

    return svg(draw, (4.5, 3), title)


MOST_POINTS = 1_000
"""Points of a line; what is denser is thinned, since a page holds every one."""


def thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """At most `MOST_POINTS` and one more, evenly spread, with the last one."""
    stride = -(-len(points) // MOST_POINTS)
    return points if stride < 2 else [*points[::stride], points[-1]]


def draw_course(
    lines: Mapping[str, Sequence[tuple[float, float]]], title: str, label: str, beginnings: Sequence[float] = (),
    level: float | None = None,
) -> str:  # fmt: skip
    """Values over steps.

    Args:
        lines: points (step, value) by name.
        title: above the picture.
        label: of the values.
        beginnings: steps of vertical lines.
        level: value of a horizontal line.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for (name, points), colour in zip(lines.items(), _COLOURS, strict=False):
            shown = thinned(points)
            axes.plot([x for x, _ in shown], [y for _, y in shown], ".-", color=colour, label=name, markersize=3)
        for step in beginnings:
            axes.axvline(step, color="gray", linewidth=0.6)
        if level is not None:
            axes.axhline(level, color="gray", linestyle="--", linewidth=0.8)
        axes.set(title=title, xlabel="steps lived", ylabel=label)
        axes.legend()

    return svg(draw, (5.5, 3), f"{title}: {label}")


def draw_tradeoff(points: Mapping[str, Sequence[tuple[float, float]]], title: str, cost: str, value: str) -> str:
    """``value`` against ``cost``, both named, of one or more states (cost, value) of each being; its last one is large.

    Costs, on a log scale, are above 0.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for (name, states), colour in zip(points.items(), _COLOURS, strict=False):
            shown = thinned(states)
            x, y = [x for x, _ in shown], [y for _, y in shown]
            axes.plot(x, y, ".", color=colour, alpha=0.5, markersize=5)
            axes.plot(x[-1:], y[-1:], "o", color=colour, label=name, markersize=9)
        axes.set(title=title, xlabel=cost, ylabel=value, xscale="log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}" if _close(points) else "")
        axes.legend()

    return svg(draw, (5.5, 3), f"{title}: {value} against {cost}")


def _close(points: Mapping[str, Sequence[tuple[float, float]]]) -> bool:
    """Whether all costs lie within a decade or so, where a log scale has few round numbers."""
    costs = [cost for states in points.values() for cost, _ in states]
    return max(costs) < 12 * min(costs)


def _written(values: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Cells whose number is written: all of a small matrix, none of a large one."""
    if len(values[0]) > 20:
        return []
    return [(i, j) for i, row in enumerate(values) for j, value in enumerate(row) if value == value]


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
