"""Figures of the suite of control: sample efficiency of each environment, and performance profiles over all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn4.benchmarks.suites.efficiency import KEYS, NAMES, Learning, profile
from snn4.benchmarks.suites.statistics import interquartile_mean, interval

COLORS = {"organism": "#c2410c", "ann_twin": "#1d4ed8", "int8_twin": "#0f766e"}
TAUS = np.linspace(0.0, 1.2, 61).tolist()


def draw(every: Sequence[Learning], folder: Path) -> list[Path]:
    """Write the figures into ``folder``, which is there; returns their paths.

    An environment without validations, as of old results, gets no curve.
    """
    curves: dict[str, list[Learning]] = {}
    for one in every:
        if one.steps:
            curves.setdefault(one.environment, []).append(one)
    paths = [_curves(environment, beings, folder) for environment, beings in curves.items()]
    return [*paths, *_profiles(every, folder)]


def _curves(environment: str, beings: Sequence[Learning], folder: Path) -> Path:
    figure, axes = _axes(f"{environment}, {len(beings[0].curve)} seeds")
    for one in beings:
        _band(axes, one.being, one.steps, interval(one.curve, lambda drawn: interquartile_mean(drawn, axis=0)))
    axes.set_xlabel("environment steps")
    axes.set_ylabel("validation return, interquartile mean")
    return _saved(figure, axes, folder / f"{environment.replace('/', '-')}.svg")


def _profiles(every: Sequence[Learning], folder: Path) -> list[Path]:
    found = {being: one for being in KEYS if (one := profile(every, being, TAUS)) is not None}
    if not found:
        return []
    environments = {name for one in found.values() for name in one["environments"]}
    figure, axes = _axes(f"performance profile, {len(environments)} environments")
    for being, one in found.items():
        _band(axes, being, TAUS, one["profile"])
    axes.set_xlabel("normalised return τ: 0 is chance, 1 the reference")
    axes.set_ylabel("fraction of runs with a return > τ")
    return [_saved(figure, axes, folder / "performance-profile.svg")]


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure, axes


def _band(axes: Axes, being: str, x: Sequence[float], found: dict[str, list[float]]) -> None:
    axes.plot(x, found["value"], color=COLORS[being], label=NAMES[being])
    if found["low"] is not None:
        axes.fill_between(x, found["low"], found["high"], color=COLORS[being], alpha=0.2, linewidth=0)


def _saved(figure: Figure, axes: Axes, path: Path) -> Path:
    axes.legend(frameon=False)
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="svg", metadata={"Date": None})
    partial.replace(path)
    return path
