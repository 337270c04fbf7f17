"""Charts of a classifier's test, from its ``summary.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from snn4.agent.show.charts import BLUE, MAX_NAMED, ORANGE, few, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Summary = Mapping[str, Any]
MAX_LAYERS = 8
"""A raster shows at most this number of layers, evenly spread."""


def draw_accuracy(summary: Summary) -> str:
    """Top-1, and top-5 if there is one, after each step."""
    top1, top5 = summary["top1_accuracy_by_step"], summary["top5_accuracy_by_step"]
    steps = range(1, len(top1) + 1)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(steps, [100 * value for value in top1], "o-", color=BLUE, label="top-1")
        if top5:
            axes.plot(steps, [100 * value for value in top5], "s--", color=ORANGE, label="top-5")
        axes.set(xlabel="steps", ylabel="accuracy, %", xticks=few(steps))
        axes.legend()

    return svg(draw, (5, 3), "accuracy after each step")


def draw_exit(summary: Summary) -> str:
    """Accuracy against mean steps over all thresholds, on test data; validation data chose the marked threshold."""
    early = summary["early_exit"]
    curve, chosen = early["test_curve"], early["test"]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        means, accuracies = ([point[key] for point in curve] for key in ("mean_steps", "accuracy"))
        axes.plot(means, [100 * value for value in accuracies], ".-", color=BLUE, label="all thresholds")
        if chosen:
            axes.plot([chosen["mean_steps"]], [100 * chosen["accuracy"]], "o", color=ORANGE, label="chosen")
        axes.set(xlabel="mean steps", ylabel="top-1, %")
        axes.legend()

    return svg(draw, (5, 3), "accuracy against mean steps with early exit")


def draw_confusion(summary: Summary) -> str:
    """Share of each class (row) taken for each class (column); with few classes, cells show the number of samples."""
    counts, names = np.array(summary["confusion"]), summary["classes"]
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    side = min(9.0, 2.5 + 0.35 * len(names))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        image = axes.imshow(shares, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        figure.colorbar(image, shrink=0.8, label="share of the class")
        axes.set(xlabel="taken for", ylabel="class")
        if len(names) <= MAX_NAMED:
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set_yticks(range(len(names)), names)
        if len(names) <= 12:
            for row, column in np.argwhere(counts).tolist():
                ink = "black" if shares[row, column] > 0.6 else "white"
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, size=8)

    return svg(draw, (side + 1, side), "confusion matrix")


def draw_classes(summary: Summary) -> str:
    """Accuracy of each class; a class without samples has no bar."""
    values, names = summary["class_accuracy"], summary["classes"]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.bar(range(len(names)), [100 * (value or 0.0) for value in values], color=BLUE)
        axes.set(ylabel="accuracy, %", ylim=(0, 100))
        if len(names) <= MAX_NAMED:
            axes.set_xticks(range(len(names)), names, rotation=90)

    return svg(draw, (min(10.0, 2 + 0.4 * len(names)), 3), "accuracy of each class")


def draw_raster(layers: Sequence[Summary], width: float = 5, length: int | None = None) -> str:
    """Spikes of some neurons of each layer; ``layers`` of an `Activity`.

    Args:
        layers: ``name``, ``n_neurons`` and ``spikes`` (steps, neurons) of each.
        width: in inches.
        length: steps of one decision, where there are several.
    """
    layers = _spread(layers)

    def draw(figure: Figure) -> None:
        rows = figure.subplots(len(layers), 1, sharex=True, squeeze=False)[:, 0]
        for axes, layer in zip(rows, layers, strict=True):
            spikes = np.array([list(map(int, step)) for step in layer["spikes"]])
            steps, neurons = np.nonzero(spikes)
            axes.scatter(steps + 1, neurons, marker="|", s=30, color=BLUE)
            n_steps, shown = spikes.shape
            axes.set(ylim=(-1, shown), xlim=(0.5, n_steps + 0.5), xticks=few(range(1, n_steps + 1)), yticks=[])
            if length:
                _divide(axes, n_steps, length)
            axes.set_title(f"{layer['name']}: {shown} of {layer['n_neurons']:,} neurons", size=9)
        rows[-1].set_xlabel("decision" if length else "step")

    return svg(draw, (width, 0.6 + 1.3 * len(layers)), "spikes of some neurons of each layer")


def _divide(axes: Axes, n_steps: int, length: int) -> None:
    """Number decisions of ``length`` steps, with lines between them."""
    for end in range(length, n_steps, length):
        axes.axvline(end + 0.5, color="gray", linewidth=0.4)
    numbers = few(range(1, n_steps // length + 1))
    axes.set_xticks([length * (number - 0.5) + 0.5 for number in numbers], list(map(str, numbers)))


def draw_rates(layers: Sequence[Summary]) -> str:
    """Mean spikes per neuron and step of each layer, on test data; ``layers`` of the SNN's indicators."""
    layers = [layer for layer in layers if layer["spike_rate"] is not None]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.barh(range(len(layers)), [layer["spike_rate"] for layer in layers], color=BLUE)
        axes.set_yticks(range(len(layers)), [layer["name"] for layer in layers])
        axes.invert_yaxis()
        axes.set(xlabel="spikes per neuron and step")

    return svg(draw, (5, 0.8 + 0.3 * len(layers)), "mean spike rate of each layer")


def draw_maps(activity: Summary) -> str:
    """A sample, and the map of the first layer's spikes for it: the mean over channels and steps."""
    maps = [(layer["name"], layer["map"]) for layer in activity["layers"] if layer["map"] is not None][:1]
    pictures = [("input", activity["picture"]), *maps]

    def draw(figure: Figure) -> None:
        for axes, (name, picture) in zip(figure.subplots(1, len(pictures), squeeze=False)[0], pictures, strict=True):
            image = axes.imshow(picture, cmap="gray" if name == "input" else "magma", interpolation="nearest")
            axes.set(title=name if name == "input" else f"{name}: spikes per step", xticks=[], yticks=[])
            figure.colorbar(image, shrink=0.7)

    return svg(draw, (3.5 * len(pictures), 3), "an input, and spikes per step of the first layer")


def _spread(layers: Sequence[Summary]) -> list[Summary]:
    number = min(MAX_LAYERS, len(layers))
    return [layers[round(i * (len(layers) - 1) / max(1, number - 1))] for i in range(number)]
