"""Charts of an evolution: its candidates with their Pareto front, and the importance of genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from snn4.agent.evolution.front import front
from snn4.agent.evolution.objectives import worth
from snn4.agent.show.charts import BLUE, GREEN, INK, ORANGE, PURPLE, svg
from snn4.agent.show.generations import Candidate, Generations, label, spans_decades
from snn4.agent.show.importance import Importance
from snn4.agent.show.text import amount

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

MAX_GENES = 12
"""A chart of importance shows at most this number of genes, the most important ones."""


def draw_candidates(generations: Generations, value: str, cost: str) -> str:
    """``value`` against ``cost`` of all candidates, with their front, the adopted ones, and the genes at birth."""
    candidates = generations.candidates
    born = next((generation.parent for generation in generations if generation.parent), None)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        dots = _dots(axes, candidates, value, cost)
        if len({one.generation for one in candidates}) > 1:
            figure.colorbar(dots, label="generation", ticks=_whole())
        _line(axes, candidates, value, cost)
        _marks(axes, generations.adopted, value, cost, "*", "adopted")
        _marks(axes, [born] if born and born.scores else [], value, cost, "D", "genes at birth")
        axes.set(xlabel=label(cost), ylabel=label(value))
        if spans_decades([one.scores[cost] for one in candidates]):
            _in_decades(axes)
        figure.legend(loc="outside upper center", ncols=4, handletextpad=0.3, columnspacing=1.0)

    return svg(draw, (5.5, 3.8), f"{label(value)} against {label(cost)} of all candidates")


def _dots(axes: Axes, candidates: Sequence[Candidate], value: str, cost: str) -> PathCollection:
    """Coloured by generation, in colours that are readable on white and on black."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("generations", [BLUE, PURPLE, ORANGE])
    x, y = ([one.scores[name] for one in candidates] for name in (cost, value))
    return axes.scatter(x, y, c=[one.generation for one in candidates], cmap=colours, s=28, label="candidate")


def _line(axes: Axes, candidates: Sequence[Candidate], value: str, cost: str) -> None:
    """The front as stairs: at each cost, the best value."""
    best = front((worth(value, one.scores[value]), one.scores[cost]) for one in candidates)
    x, y = [point[1] for point in best], [worth(value, point[0]) for point in best]
    axes.plot(x, y, color=GREEN, drawstyle="steps-post", linewidth=1.2, label="front", zorder=0.5)


def _marks(axes: Axes, candidates: Sequence[Candidate], value: str, cost: str, marker: str, name: str) -> None:
    """Outlines around candidates."""
    if candidates:
        x, y = ([one.scores[objective] for one in candidates] for objective in (cost, value))
        size = 170 if marker == "*" else 60
        axes.scatter(x, y, marker=marker, s=size, facecolors="none", edgecolors=INK, linewidths=1.1, label=name)


def _in_decades(axes: Axes) -> None:
    """A log scale with ticks in plain numbers, since powers would need mathematical text."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high < 1000 * low else (1.0,)))
    axes.xaxis.set_major_formatter(lambda cost, _: amount(cost).removesuffix(".0"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _whole() -> Any:
    """Ticks at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True, nbins=6)


def draw_importance(found: Importance) -> str:
    """A bar for each gene and objective; dotted lines are the limits of chance."""
    genes = list(found.correlations)[:MAX_GENES]
    objectives = list(found.correlations[genes[0]])
    height = 0.8 / len(objectives)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, (objective, colour) in enumerate(zip(objectives, (BLUE, ORANGE, GREEN, "gray"), strict=False)):
            places = [place + (number - (len(objectives) - 1) / 2) * height for place in range(len(genes))]
            bars = [found.correlations[gene][objective] for gene in genes]
            axes.barh(places, bars, height, color=colour, label=label(objective))
        for limit in (-found.chance, found.chance):
            axes.axvline(limit, color=INK, linestyle=":", linewidth=0.8)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(genes)), genes)
        axes.invert_yaxis()
        axes.set(xlim=(-1.02, 1.02), xlabel="rank correlation")
        figure.legend(loc="outside upper center", ncols=2)

    return svg(draw, (5.5, 1.2 + 0.36 * len(genes)), "importance of genes")
