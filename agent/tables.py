"""Tables of an examination, for terminals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from snn4.agent.examination import Examination
from snn4.agent.indicators import Indicators, Timing
from snn4.agent.recognition import Exit
from snn4.policies.cost import LayerCost, layer_table
from snn4.policies.energy import ENERGY_MODELS

_LAYER_COLUMNS = ("name", "kind", "spikes", "spike_rate", "effective_acs", "effective_macs", "parameters")


def table(result: Examination) -> Group:
    """The indicators in one table, and below it the SNN's layers, its accuracy over steps, early exit and timings."""
    return Group(
        _rich(indicator_rows(result), "test data, cost of a decision"),
        _rich(layer_rows(result.rows[0].cost.layers), "spiking network, mean of a decision"),
        *(Text(line) for line in notes(result)),
    )


def indicator_rows(result: Examination) -> list[list[str]]:
    """Rows of text, the first of which names the columns."""
    energies = [f"{model.replace('_', ' ')} J" for model in ENERGY_MODELS]
    header = ["", "top-1 %", "top-5 %", "spikes", "steps", "ms (p95)", *energies, "parameters", "bytes"]
    return [header, *(_indicators(row) for row in result.rows)]


def layer_rows(layers: Sequence[LayerCost]) -> list[list[str]]:
    """The columns of `layer_table` that fit on a page, without layers that only pass values on."""
    header, *rows = layer_table(layers)
    columns = [header.index(name) for name in _LAYER_COLUMNS]
    return [[row[column].replace("–", "-") for column in columns] for row in (header, *rows)]


def notes(result: Examination) -> list[str]:
    """What does not fit into a table, a line each."""
    r = result.recognition
    lines = [f"top-1 % after t = 1 … {r.steps}: {'  '.join(percent(value) for value in r.top1)}", exit_line(result)]
    for row in result.rows:
        if row.timings:
            lines.append(f"{row.name} ms a decision, median (p95): {', '.join(map(_timing, row.timings))}")
    lines.append(f"{len(r.labels):,} test samples; operations counted on {result.metered:,} of them")
    if r.flip:
        lines.append("scores averaged over each input and its mirror image: every cost is that of both")
    if result.rows[0].recognition is not None and result.chosen is None:
        lines.append("int8 not simulated without validation data: its operations are those of fp32")
    return lines


def exit_line(result: Examination) -> str:
    """Early exit in words."""
    if result.chosen is None or result.exit is None:
        return "early exit: -, without validation data to choose its threshold on"
    threshold = result.exit.threshold
    at = "none stops early" if threshold is None else f"at confidence {threshold:.5g}"
    return f"early exit, {at}: {_exit(result.exit)}; on validation data, where it was chosen, {_exit(result.chosen)}"


def percent(value: float | None) -> str:
    """A fraction as percents, "-" for None."""
    return "-" if value is None else f"{100 * value:.2f}"


def joules(value: float | None) -> str:
    """Before the unit J, with a prefix: 0.00000123 is 1.23 µ; "-" for None."""
    if value is None:
        return "-"
    if not value:
        return "0"
    # The space does not break, so that number and prefix stay together in a narrow table.
    power = min(5, max(0, math.ceil(-math.log10(value) / 3)))
    return f"{value * 1000**power:.4g}\u00a0{('', 'm', 'µ', 'n', 'p', 'f')[power]}"


def _indicators(row: Indicators) -> list[str]:
    timing = row.fastest
    return [
        f"{row.name} {row.precision}", percent(row.top1), percent(row.top5),
        f"{row.cost.spikes_per_decision:,.0f}", str(row.steps),
        f"{timing.median_milliseconds:.3g} ({timing.p95_milliseconds:.3g})" if timing else "-",
        *(joules(row.energy_joules.get(model)) for model in ENERGY_MODELS),
        f"{row.cost.parameters:,}", f"{row.bytes:,}",
    ]  # fmt: skip


def _timing(timing: Timing) -> str:
    threads = "1 thread" if timing.threads == 1 else f"{timing.threads} threads"
    return f"{timing.engine}, {threads} {timing.median_milliseconds:.3g} ({timing.p95_milliseconds:.3g})"


def _exit(point: Exit) -> str:
    return f"{percent(point.accuracy)} % after {point.mean_steps:.2f} steps"


def _rich(rows: Sequence[Sequence[str]], title: str) -> Table:
    made = Table(title=title)
    for number, name in enumerate(rows[0]):
        made.add_column(Text(name), justify="right" if number else "left")
    for row in rows[1:]:
        made.add_row(*map(Text, row))
    return made
