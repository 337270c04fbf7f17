"""The test of a classifier: tables for terminals, and the sections of its page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from snn4.agent.run.beings import name_of
from snn4.agent.run.events import Evaluated, Event, Learned
from snn4.agent.show import classifier_charts as charts
from snn4.agent.show.charts import draw_curve
from snn4.agent.show.page import energy_sources, figure, heading, html_table, paragraph
from snn4.agent.show.tables import Fitting
from snn4.agent.show.text import counted, percent, prefixed
from snn4.policies.metering.energy import ENERGY_MODELS

Summary = Mapping[str, Any]


def tables(summary: Summary) -> Group:
    """A table of the indicators; below it the SNN's layers, its accuracy over steps, early exit and timings."""
    rows, layers = indicator_rows(summary), layer_rows(summary["indicators"][0]["layers"])
    without_kind = [[name, *numbers] for name, _, *numbers in layers]
    return Group(
        Fitting("test: accuracy, and cost per decision", rows, list(zip(*rows, strict=True))),
        Fitting("layers of the SNN, per decision; rate: per neuron and step", layers, without_kind, folded=True),
        *(Text(line) for line in notes(summary)),
    )


def sections(events: Iterable[Event], summary: Summary | None) -> Iterator[str]:
    """The test and the learning curves; before the test the curves alone."""
    curves = learning_curves(events)
    if summary is None:
        yield from _learning(curves) if curves else [paragraph("No epoch is finished yet.")]
        return
    yield heading("Indicators") + html_table(indicator_rows(summary))
    yield "".join(map(paragraph, notes(summary)))
    yield heading("Accuracy and latency")
    yield figure(charts.draw_accuracy(summary), "Accuracy of the mean scores of all steps so far.")
    yield figure(charts.draw_exit(summary), "Early exit: a decision is made as soon as the confidence is reached.")
    yield heading("Classes")
    yield figure(charts.draw_confusion(summary), "Confusion matrix; numbers are test samples.")
    yield figure(charts.draw_classes(summary), "Accuracy of each class.")
    yield from _spikes(summary)
    yield from _learning(curves)
    yield heading("Energy models") + energy_sources()


def _spikes(summary: Summary) -> Iterator[str]:
    layers = summary["indicators"][0]["layers"]
    activity = summary.get("activity")  # early summaries of version 0.1 have none
    yield heading("Spikes")
    if activity and activity["layers"]:
        raster = charts.draw_raster(activity["layers"])
        yield figure(raster, f"Spikes for the first test sample: {_first(summary['classes'], activity)}.")
    if any(layer["spike_rate"] is not None for layer in layers):
        yield figure(charts.draw_rates(layers), "Mean over test samples.")
    if activity:
        yield figure(charts.draw_maps(activity), "The first test sample, and where the first layer spikes.")
    yield html_table(layer_rows(layers))


def _learning(curves: Mapping[str, Sequence[float | None]]) -> Iterator[str]:
    if drawn := [figure(draw_curve(name, values), "") for name, values in curves.items() if len(values)]:
        yield heading("Learning") + "".join(drawn)


def _first(classes: Sequence[str], activity: Summary) -> str:
    """Class of the first test sample, and the network's prediction."""
    return f"{classes[activity['label']]}, taken for {classes[activity['prediction']]}"


def learning_curves(events: Iterable[Event]) -> dict[str, list[float | None]]:
    """Losses and accuracy of each being by the name of the curve, one value per epoch."""
    curves: dict[str, list[float | None]] = defaultdict(list)
    losses: list[tuple[float, int]] = []
    step = 0
    for event in events:
        if isinstance(event, Learned):
            losses.append((event.losses["loss"], event.step - step if event.step > step else event.step))
            step = event.step
        elif isinstance(event, Evaluated) and event.part == "validation":
            images = sum(number for _, number in losses)
            mean = sum(loss * number for loss, number in losses) / images if images else None
            (score,) = event.scores.values()
            name = name_of(event.being)
            curves[f"{name}: training loss"].append(mean)
            curves[f"{name}: validation loss"].append(score["loss"])
            curves[f"{name}: validation top-1, %"].append(100 * score["return_mean"])
            losses = []
    return dict(curves)


def indicator_rows(summary: Summary) -> list[list[str]]:
    """The first row names the columns."""
    energies = [f"{model.replace('_', ' ')} J" for model in ENERGY_MODELS]
    header = ["", "top-1 %", "top-5 %", "spikes", "steps", "ms (p95)", *energies, "parameters", "bytes"]
    teacher = (summary.get("teacher") or {}).get("indicators")
    return [header, *map(_indicators, [*summary["indicators"], *([teacher] if teacher else [])])]


def layer_rows(layers: Sequence[Summary]) -> list[list[str]]:
    """The first row names the columns; all fit on a page."""
    return [["layer", "kind", "spikes", "rate", "ACs", "MACs", "parameters"], *map(_layer, layers)]


def notes(summary: Summary) -> list[str]:
    """Lines for what does not fit into a table."""
    by_step = "  ".join(percent(value) for value in summary["top1_accuracy_by_step"])
    lines = [f"top-1 % after t = 1 … {summary['steps']}: {by_step}", exit_line(summary["early_exit"])]
    timed = [row for row in summary["indicators"] if row["latency"]]
    timings = ((row["name"], "; ".join(map(_timing, row["latency"]))) for row in timed)
    lines += [f"{name} ms per decision, median (p95): {timing}" for name, timing in timings]
    samples, metered = summary["test_samples"], summary["metered_samples"]
    lines.append(f"{samples:,} test samples; operations counted on {metered:,} of them")
    if summary["flip"]:
        lines.append("scores are means over each input and its mirror image; every cost is that of both")
    if (teacher := summary.get("teacher")) and teacher["sources"]:
        lines.append(f"teacher: {', '.join(teacher['sources'])}, top-1 {percent(teacher['top1_accuracy'])} %")
    if summary["early_exit"]["validation"] is None:
        lines.append("int8 cannot be simulated without validation data; its operations are those of fp32")
    return [*lines, counted(summary["indicators"]), *summary["notes"]]


def exit_line(early: Summary) -> str:
    """Early exit in words."""
    validation, test = early["validation"], early["test"]
    if validation is None or test is None:
        return "early exit: -, without validation data to choose its threshold on"
    threshold = test["threshold"]
    at = "never" if threshold is None else f"at confidence {threshold:.5g}" if threshold else "after the first step"
    return f"early exit {at}: {_exit(test)}; on validation data, which chose the threshold, {_exit(validation)}"


def _indicators(row: Summary) -> list[str]:
    fastest = min(row["latency"], key=lambda timing: timing["median_milliseconds"], default=None)
    return [
        f"{row['name']} {row['precision']}", percent(row["top1_accuracy"]), percent(row["top5_accuracy"]),
        prefixed(row["spikes_per_decision"]), str(row["latency_steps"]), _milliseconds(fastest) if fastest else "-",
        *(prefixed(row["energy_joules"].get(model)) for model in ENERGY_MODELS),
        prefixed(row["parameters"]), prefixed(row["bytes"]),
    ]  # fmt: skip


def _layer(layer: Summary) -> list[str]:
    rate = "-" if layer["spike_rate"] is None else f"{layer['spike_rate']:.4g}"
    operations = (prefixed(layer[key]) for key in ("effective_acs", "effective_macs", "parameters"))
    return [layer["name"], layer["kind"], prefixed(layer["spikes"]), rate, *operations]


def _timing(timing: Summary) -> str:
    threads = "1 thread" if timing["threads"] == 1 else f"{timing['threads']} threads"
    return f"{timing['engine']}, {threads}: {_milliseconds(timing)}"


def _milliseconds(timing: Summary) -> str:
    return f"{timing['median_milliseconds']:.3g} ({timing['p95_milliseconds']:.3g})"


def _exit(point: Summary) -> str:
    return f"{percent(point['accuracy'])} % after {point['mean_steps']:.2f} steps"
