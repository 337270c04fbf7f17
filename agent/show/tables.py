"""Tables of an examination: rows of text for any medium, and a picture of them for terminals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from snn4.agent.evaluation.accuracy import Exit
from snn4.agent.evaluation.classifier import Examination
from snn4.agent.evaluation.indicators import Indicators, Timing
from snn4.policies.metering.cost import LayerCost
from snn4.policies.metering.energy import ENERGY_MODELS

_PREFIXES = {4: "T", 3: "G", 2: "M", 1: "k", 0: "", -1: "m", -2: "µ", -3: "n", -4: "p", -5: "f"}


def table(result: Examination) -> Group:
    """The indicators in one table; below it the SNN's layers, its accuracy over steps, early exit and timings."""
    rows, layers = indicator_rows(result), layer_rows(result.rows[0].cost.layers)
    without_kind = [[name, *numbers] for name, _, *numbers in layers]
    return Group(
        _Fitting("test: accuracy, and cost of a decision", rows, list(zip(*rows, strict=True))),
        _Fitting("layers of the SNN, per decision; rate: a neuron and step", layers, without_kind, folded=True),
        *(Text(line) for line in notes(result)),
    )


def indicator_rows(result: Examination) -> list[list[str]]:
    """The first row names the columns."""
    energies = [f"{model.replace('_', ' ')} J" for model in ENERGY_MODELS]
    header = ["", "top-1 %", "top-5 %", "spikes", "steps", "ms (p95)", *energies, "parameters", "bytes"]
    return [header, *(_indicators(row) for row in result.rows)]


def layer_rows(layers: Sequence[LayerCost]) -> list[list[str]]:
    """The first row names the columns: as many as fit on a page."""
    return [["layer", "kind", "spikes", "rate", "ACs", "MACs", "parameters"], *map(_layer, layers)]


def notes(result: Examination) -> list[str]:
    """What does not fit into a table, a line each."""
    r = result.recognition
    lines = [f"top-1 % after t = 1 … {r.steps}: {'  '.join(percent(value) for value in r.top1)}", exit_line(result)]
    timed = [row for row in result.rows if row.timings]
    lines += [f"{row.name} ms a decision, median (p95): {'; '.join(map(_timing, row.timings))}" for row in timed]
    lines.append(f"{len(r.labels):,} test samples; operations counted on {result.metered:,} of them")
    if r.flip:
        lines.append("scores are means over each input and its mirror image: every cost is that of both")
    if result.chosen is None:
        lines.append("int8 is not simulated without validation data: its operations are those of fp32")
    return [*lines, *result.notes]


def exit_line(result: Examination) -> str:
    """Early exit in words."""
    if result.chosen is None or result.exit is None:
        return "early exit: -, without validation data to choose its threshold on"
    threshold = result.exit.threshold
    at = "never" if threshold is None else f"at confidence {threshold:.5g}" if threshold else "after the first step"
    return f"early exit {at}: {_exit(result.exit)}; on validation data, where this was chosen, {_exit(result.chosen)}"


def percent(value: float | None) -> str:
    """A fraction as percents, "-" for None."""
    return "-" if value is None else f"{100 * value:.2f}"


def prefixed(value: float | None) -> str:
    """Four digits and the prefix of a unit: 0.00000123 is "1.23 µ"; "-" for None."""
    if value is None:
        return "-"
    power = max(-5, min(4, math.floor(math.log10(abs(value)) / 3))) if value else 0
    return f"{value / 1000**power:.4g} {_PREFIXES[power]}" if power else f"{value:.4g}"


def _indicators(row: Indicators) -> list[str]:
    timing = row.fastest
    return [
        f"{row.name} {row.precision}", percent(row.top1), percent(row.top5),
        prefixed(row.cost.spikes_per_decision), str(row.steps), _milliseconds(timing) if timing else "-",
        *(prefixed(row.energy_joules.get(model)) for model in ENERGY_MODELS),
        prefixed(row.cost.parameters), prefixed(row.bytes),
    ]  # fmt: skip


def _layer(layer: LayerCost) -> list[str]:
    rate = "-" if layer.spike_rate is None else f"{layer.spike_rate:.4g}"
    operations = map(prefixed, (layer.effective_acs, layer.effective_macs, layer.parameters))
    return [layer.name, layer.kind, prefixed(layer.spikes), rate, *operations]


def _timing(timing: Timing) -> str:
    threads = "1 thread" if timing.threads == 1 else f"{timing.threads} threads"
    return f"{timing.engine}, {threads}: {_milliseconds(timing)}"


def _milliseconds(timing: Timing) -> str:
    return f"{timing.median_milliseconds:.3g} ({timing.p95_milliseconds:.3g})"


def _exit(point: Exit) -> str:
    return f"{percent(point.accuracy)} % after {point.mean_steps:.2f} steps"


class _Fitting:
    """The first of several forms of a table that the terminal is wide enough for, else the last one."""

    def __init__(self, title: str, *forms: Sequence[Sequence[str]], folded: bool = False) -> None:
        self.title, self.forms, self.folded = title, forms, folded

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unlimited, made = options.update(width=1000), [_table(rows, self.title, self.folded) for rows in self.forms]
        fitting = (table for table in made if console.measure(table, options=unlimited).maximum <= options.max_width)
        yield next(fitting, made[-1])


def _table(rows: Sequence[Sequence[str]], title: str, folded: bool) -> Table:
    """With ``folded``, long names in the first column are, before a number is cut off."""
    made = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(rows[0]):
        heading = Text(name.replace(" ", "\n") if number else name)
        folds = folded and not number
        made.add_column(
            heading, justify="right" if number else "left", no_wrap=not folds, vertical="bottom",
            overflow="fold" if folds else "ellipsis",
        )  # fmt: skip
    for row in rows[1:]:
        made.add_row(*map(Text, row))
    return made
