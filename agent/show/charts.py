"""Pictures of an examination as SVG text, in the colours of the page around them: light or dark."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import torch

from snn4.agent.evaluation.activity import LayerActivity
from snn4.agent.evaluation.classifier import Examination

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#010203"
"""Stands for the colour of the page's text, and is nowhere else."""
BLUE, ORANGE = "#4c8bf5", "#e8833a"  # readable on white and on black
_STYLE: dict[str, Any] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    "axes.facecolor": "none", "figure.facecolor": "none", "legend.framealpha": 0.0, "font.size": 10.0,
    "axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True,
    "svg.fonttype": "none", "svg.hashsalt": "snn4",  # text stays text, and equal results give equal files
    "text.parse_math": False,  # a class may be called "$x"
}  # fmt: skip
MAX_NAMED = 30
"""More classes than these are shown without their names and numbers."""
MAX_LAYERS = 8
"""A raster of more layers shows so many of them, evenly spread."""


def draw_accuracy(result: Examination) -> str:
    """Top-1, and top-5 if there is one, after each step."""
    r, steps = result.recognition, range(1, result.recognition.steps + 1)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(steps, [100 * value for value in r.top1], "o-", color=BLUE, label="top-1")
        if r.top5:
            axes.plot(steps, [100 * value for value in r.top5], "s--", color=ORANGE, label="top-5")
        axes.set(xlabel="steps", ylabel="accuracy, %", xticks=few(steps))
        axes.legend()

    return svg(draw, (5, 3), "accuracy after each step")


def draw_exit(result: Examination) -> str:
    """Accuracy against mean steps over thresholds, on test data, and the threshold that validation data chose."""
    curve = result.recognition.exit_curve()

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        xs, ys = [point.mean_steps for point in curve], [100 * point.accuracy for point in curve]
        axes.plot(xs, ys, ".-", color=BLUE, label="all thresholds")
        if result.exit:
            axes.plot([result.exit.mean_steps], [100 * result.exit.accuracy], "o", color=ORANGE, label="chosen")
        axes.set(xlabel="mean steps", ylabel="top-1, %")
        axes.legend()

    return svg(draw, (5, 3), "accuracy against mean steps with early exit")


def draw_confusion(result: Examination) -> str:
    """Share of each class (row) taken for each class (column); samples are written into few classes."""
    counts, names = result.recognition.confusion, result.class_names
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    side = min(9.0, 2.5 + 0.35 * len(names))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        image = axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        figure.colorbar(image, shrink=0.8, label="share of the class")
        axes.set(xlabel="taken for", ylabel="class")
        if len(names) <= MAX_NAMED:
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set_yticks(range(len(names)), names)
        if len(names) <= 12:
            for row, column in torch.nonzero(counts).tolist():
                ink = "black" if shares[row, column] > 0.6 else "white"
                axes.text(column, row, str(int(counts[row, column])), ha="center", va="center", color=ink, size=8)

    return svg(draw, (side + 1, side), "confusion matrix")


def draw_classes(result: Examination) -> str:
    """Accuracy of each class; classes without samples have no bar."""
    values, names = result.recognition.class_accuracy, result.class_names

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.bar(range(len(names)), [100 * (value or 0.0) for value in values], color=BLUE)
        axes.set(ylabel="accuracy, %", ylim=(0, 100))
        if len(names) <= MAX_NAMED:
            axes.set_xticks(range(len(names)), names, rotation=90)

    return svg(draw, (min(10.0, 2 + 0.4 * len(names)), 3), "accuracy of each class")


def draw_raster(result: Examination) -> str:
    """Spikes of some neurons of each layer for the first test sample."""
    layers = _spread(result.activity.layers)

    def draw(figure: Figure) -> None:
        rows = figure.subplots(len(layers), 1, sharex=True, squeeze=False)[:, 0]
        for axes, layer in zip(rows, layers, strict=True):
            steps, neurons = torch.nonzero(layer.spikes, as_tuple=True)
            axes.scatter(steps.numpy() + 1, neurons.numpy(), marker="|", s=30, color=BLUE)
            n_steps, shown = layer.spikes.shape
            axes.set(ylim=(-1, shown), xlim=(0.5, n_steps + 0.5), xticks=few(range(1, n_steps + 1)), yticks=[])
            axes.set_title(f"{layer.name}: {shown} of {layer.n_neurons:,} neurons", size=9)
        rows[-1].set_xlabel("step")

    return svg(draw, (5, 0.6 + 1.3 * len(layers)), "spikes of some neurons of each layer")


def draw_rates(result: Examination) -> str:
    """Mean spikes a neuron and step of each layer, on test data."""
    layers = [row for row in result.rows[0].cost.layers if row.spike_rate is not None]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.barh(range(len(layers)), [row.spike_rate or 0.0 for row in layers], color=BLUE)
        axes.set_yticks(range(len(layers)), [row.name for row in layers])
        axes.invert_yaxis()
        axes.set(xlabel="spikes a neuron and step")

    return svg(draw, (5, 0.8 + 0.3 * len(layers)), "mean spike rate of each layer")


def draw_maps(result: Examination) -> str:
    """The first test sample, and where the first layer spikes for it, mean over channels and steps."""
    maps = [(layer.name, layer.map) for layer in result.activity.layers if layer.map is not None][:1]
    pictures = [("input", result.activity.picture), *maps]

    def draw(figure: Figure) -> None:
        for axes, (name, picture) in zip(figure.subplots(1, len(pictures), squeeze=False)[0], pictures, strict=True):
            image = axes.imshow(picture.numpy(), cmap="gray" if name == "input" else "magma", interpolation="nearest")
            axes.set(title=name if name == "input" else f"{name}: spikes a step", xticks=[], yticks=[])
            figure.colorbar(image, shrink=0.7)

    return svg(draw, (3.5 * len(pictures), 3), "an input, and spikes a step of the first layer")


def draw_curve(name: str, values: Sequence[float | None]) -> str:
    """Values over epochs; None is a gap."""
    points = [float("nan") if value is None else value for value in values]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(range(1, len(points) + 1), points, ".-", color=BLUE)
        axes.set(title=name, xlabel="epoch", xticks=few(range(1, len(points) + 1)))

    return svg(draw, (4, 3), f"{name} over epochs")


def svg(draw: Callable[[Figure], None], size: tuple[float, float], label: str) -> str:
    """An ``<svg>`` element to stand in HTML, of ``size`` inches: its ids are its own, its ink is the page's."""
    import matplotlib
    from matplotlib.figure import Figure

    text = io.StringIO()
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=size)  # without pyplot, which would keep it
        draw(figure)
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    body = text.getvalue()
    body = body[body.index("<svg") :].replace(_INK, "currentColor")
    own = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>p{zlib.crc32(label.encode())}-", body)
    return own.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _spread(layers: Sequence[LayerActivity]) -> list[LayerActivity]:
    number = min(MAX_LAYERS, len(layers))
    return [layers[round(i * (len(layers) - 1) / max(1, number - 1))] for i in range(number)]


def few(steps: range) -> list[int]:
    """At most ten ticks."""
    return list(steps[:: max(1, -(-len(steps) // 10))])
