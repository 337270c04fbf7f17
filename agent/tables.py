"""Tables of an examination: rows of text for any medium, and a picture of them for terminals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from snn4.agent.examination import Examination
from snn4.agent.indicators import Indicators, Timing
from snn4.agent.recognition import Exit
from snn4.policies.cost import LayerCost, layer_table
from snn4.policies.energy import ENERGY_MODELS

_LAYER_COLUMNS = {
    "name": "layer", "kind": "kind", "spikes": "spikes", "spike_rate": "rate",
    "effective_acs": "ACs", "effective_macs": "MACs", "parameters": "parameters",
}  # fmt: skip
"""Of `layer_table`, as many as fit on a page."""
_PREFIXES = {4: "T", 3: "G", 2: "M", 1: "k", 0: "", -1: "m", -2: "µ", -3: "n", -4: "p", -5: "f"}


def table(result: Examination) -> Group:
    """The indicators in one table; below it the SNN's layers, its accuracy over steps, early exit and timings."""
    return Group(
        _Fitting(indicator_rows(result), "test: accuracy, and cost of a decision"),
        _table(layer_rows(result.rows[0].cost.layers), "layers of the SNN, per decision; rate: a neuron and step"),
        *(Text(line) for line in notes(result)),
    )


def indicator_rows(result: Examination) -> list[list[str]]:
    """The first row names the columns."""
    energies = [f"{model.replace('_', ' ')} J" for model in ENERGY_MODELS]
    header = ["", "top-1 %", "top-5 %", "spikes", "steps", "ms (p95)", *energies, "parameters", "bytes"]
    return [header, *(_indicators(row) for row in result.rows)]


def layer_rows(layers: Sequence[LayerCost]) -> list[list[str]]:
    """The first row names the columns."""
    header, *rows = layer_table(layers)
    columns = [header.index(name) for name in _LAYER_COLUMNS]
    return [list(_LAYER_COLUMNS.values()), *([row[column].replace("–", "-") for column in columns] for row in rows)]


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
    return lines


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


def _timing(timing: Timing) -> str:
    threads = "1 thread" if timing.threads == 1 else f"{timing.threads} threads"
    return f"{timing.engine}, {threads}: {_milliseconds(timing)}"


def _milliseconds(timing: Timing) -> str:
    return f"{timing.median_milliseconds:.3g} ({timing.p95_milliseconds:.3g})"


def _exit(point: Exit) -> str:
    return f"{percent(point.accuracy)} % after {point.mean_steps:.2f} steps"


class _Fitting:
    """A table that turns its rows into columns where the terminal is too narrow for them."""

    def __init__(self, rows: list[list[str]], title: str) -> None:
        self.rows, self.title = rows, title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = _table(self.rows, self.title)
        narrow = _table(list(map(list, zip(*self.rows, strict=True))), self.title)
        yield wide if console.measure(wide, options=options.update(width=1000)).maximum <= options.max_width else narrow


def _table(rows: Sequence[Sequence[str]], title: str) -> Table:
    made = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(rows[0]):
        heading = Text(name.replace(" ", "\n") if number else name)
        made.add_column(heading, justify="right" if number else "left", no_wrap=True, vertical="bottom")
    for row in rows[1:]:
        made.add_row(*map(Text, row))
    return made
