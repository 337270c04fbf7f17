"""The diagnosis of a conversion: tables for terminals, and the sections of its page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Group
from rich.text import Text

from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.run.events import Event, Learned
from snn4.agent.show.charts import draw_curve
from snn4.agent.show.page import figure, heading, html_table, paragraph
from snn4.agent.show.tables import Fitting
from snn4.agent.show.text import percent, prefixed, spread

Summary = Mapping[str, Any]


def tables(summary: Summary) -> Group:
    """A row per layer, a row per number of steps, and the reason of the loss."""
    layers, steps = layer_rows(summary["diagnosis"]), step_rows(summary["diagnosis"])
    narrow = [[row[0], row[1], row[2], row[6], row[7]] for row in layers]
    return Group(
        Fitting("layers: rates of the SNN beside activations of the ANN", layers, narrow),
        Fitting("accuracy and spikes after T steps", steps, list(zip(*steps, strict=True))),
        *(Text(line) for line in notes(summary)),
    )


def sections(events: Iterable[Event], summary: Summary | None) -> Iterator[str]:
    """The diagnosis, and the curves of the finetuning; before the end the curves alone."""
    fits = [event for event in events if isinstance(event, Learned) and event.epoch is not None]
    if summary is not None:
        diagnosis = summary["diagnosis"]
        yield "".join(map(paragraph, notes(summary)))
        yield heading("Accuracy and spikes") + html_table(step_rows(diagnosis))
        yield figure(draw_curve("accuracy, %", [100 * x for x in diagnosis["accuracy_by_step"]]), "After each step.")
        yield heading("Layers") + html_table(layer_rows(diagnosis))
        for title, key in (("accuracy when converted up to this layer, %", "accuracy"), ("error", "error")):
            factor = 100 if key == "accuracy" else 1
            yield figure(draw_curve(title, [factor * layer[key] for layer in diagnosis["layers"]]), "By layer.")
    if fits:
        yield heading("Finetuning")
        yield figure(draw_curve("training loss", [fit.losses["loss"] for fit in fits]), "")
        yield figure(draw_curve("training top-1, %", [100 * (fit.episode_return or 0) for fit in fits]), "")
    elif summary is None:
        yield paragraph("Nothing is finished yet.")


def layer_rows(diagnosis: Summary) -> list[list[str]]:
    """The first row names the columns."""
    head = ["layer", "correlation", "error", "silent %", "saturated %", "rate", "accuracy up to it %", "costs"]
    rows, before = [], diagnosis["ann_accuracy"]
    for layer in diagnosis["layers"]:
        cost, before = before - layer["accuracy"], layer["accuracy"]
        correlation = "-" if layer["correlation"] is None else f"{layer['correlation']:.3f}"
        rows.append([
            layer["name"], correlation, f"{layer['error']:.3f}", percent(layer["silent"]), percent(layer["saturated"]),
            f"{layer['rate']:.3f}", percent(layer["accuracy"]), percent(cost),
        ])  # fmt: skip
    return [head, *rows]


def step_rows(diagnosis: Summary) -> list[list[str]]:
    """Accuracy and spikes after 1, 2, 4, 8 … steps, and after the last one."""
    last = len(diagnosis["accuracy_by_step"])
    steps = sorted({2**k for k in range(last.bit_length()) if 2**k <= last} | {last})
    ann = ["ANN", percent(diagnosis["ann_accuracy"]), "-", "-"]
    rows = [
        [
            str(T), percent(diagnosis["accuracy_by_step"][T - 1]), prefixed(diagnosis["spikes_by_step"][T - 1]),
            percent(diagnosis["ann_accuracy"] - diagnosis["accuracy_by_step"][T - 1]),
        ]
        for T in steps
    ]  # fmt: skip
    return [["T", "top-1 %", "spikes", "below the ANN"], *rows, ann]


def notes(summary: Summary) -> list[str]:
    """The reason of the loss, and what was measured on which images."""
    images = summary["diagnosis"]["images"]
    lines = [summary["reason"], f"measured on {images:,} validation images, which the ANN may have learned"]
    if summary.get("finetuned_epochs"):
        before = percent(summary["source_accuracy"])
        epochs = summary["finetuned_epochs"]
        lines.append(f"finetuned for {epochs} epochs with quantized activations; before, the ANN had {before} %")
    return [*lines, "the test set was not used; test on it with: snn4-agent evaluate RUN"]


def imported_tables(summary: Summary) -> Group:
    """What came out of a NIR graph."""
    rows = imported_rows(summary)
    return Group(Fitting(summary["source"], rows, rows), *(Text(line) for line in imported_notes(summary)))


def imported_sections(summary: Summary) -> Iterator[str]:
    """The page of an imported network."""
    yield heading("The network") + html_table(imported_rows(summary))
    yield "".join(map(paragraph, imported_notes(summary)))


def imported_rows(summary: Summary) -> list[list[str]]:
    """The first row names the columns."""
    imported = summary["imported"]
    layers = ", ".join(f"{n} {kind}" for kind, n in imported["layers"].items())
    head = ["layers", "parameters", "T", "top-1 %"]
    return [head, [layers, f"{imported['parameters']:,}", str(imported["T"]), percent(imported["accuracy"])]]


def imported_notes(summary: Summary) -> list[str]:
    """What was measured on which images."""
    images = summary["imported"]["images"]
    return [f"measured on {images:,} validation images", "test on the test set with: snn4-agent evaluate RUN"]


def policy_tables(summary: Summary) -> Group:
    """Both players of the same episodes, and the layers."""
    rows = score_rows(summary)
    table = Fitting(f"{summary['environment']}: the same test episodes", rows, list(zip(*rows, strict=True)))
    return Group(table, *(Text(line) for line in policy_notes(summary)))


def policy_sections(summary: Summary) -> Iterator[str]:
    """The page of a converted agent."""
    yield "".join(map(paragraph, policy_notes(summary)))
    yield heading("The same test episodes") + html_table(score_rows(summary))
    layers = [[str(number + 1), f"{layer['neurons']:,}", f"{layer['error']:.3f}"] for number, layer in _layers(summary)]
    yield heading("Layers") + html_table([["layer", "neurons", "error"], *layers])


def played_tables(summary: Summary) -> Fitting:
    """The test episodes of a converted or compressed policy."""
    rows = score_rows(summary)
    return Fitting(f"{summary['environment']}: test episodes", rows, list(zip(*rows, strict=True)))


def played_sections(summary: Summary) -> Iterator[str]:
    """The page of the same."""
    yield heading("Test episodes") + html_table(score_rows(summary))


def score_rows(summary: Summary) -> list[list[str]]:
    """The first row names the columns."""
    head = ["", "return", "spikes", "ACs", "MACs", "45nm fp32 J", "45nm int8 memory J"]
    return [
        head,
        *(_score({NETWORK: "SNN", ANN_TWIN: "ANN"}[being], score) for being, score in summary["scores"].items()),
    ]


def policy_notes(summary: Summary) -> list[str]:
    """Lines on the loss, on units with several neurons, and on the file of the agent."""
    loss = "-" if summary["loss"] is None else f"{100 * summary['loss']:.2f} %"
    lines = [f"the conversion loses {loss} of the return above chance ({summary['chance']:.1f})"]
    if summary["pieces"] > 1:
        lines.append(f"{summary['pieces']} neurons stand for each tanh unit")
    if summary["residual"]:
        lines.append("what a decision leaves in the membranes starts the next one")
    errors = ", ".join(f"{layer['error']:.3f}" for _, layer in _layers(summary))
    lines.append(f"error of the layers, as a fraction of the mean activation: {errors}")
    states, algorithm = summary["calibration_states"], summary["algorithm"]
    return [*lines, f"calibrated on {states:,} states; load it with {algorithm}.load: {summary['agent']}"]


def _layers(summary: Summary) -> Iterator[tuple[int, Summary]]:
    yield from enumerate(summary["layers"])


def _score(name: str, score: Summary) -> list[str]:
    numbers = (score[key] for key in ("spikes_per_decision", "effective_acs", "effective_macs"))
    mean = spread(score["return_mean"], score["return_std"])
    joules = (score["energy_joules"].get(model) for model in ("45nm_fp32", "45nm_int8_memory"))
    return [name, mean, *map(prefixed, numbers), *map(prefixed, joules)]
