"""What came of a life in rows of text, for terminals and pages: its test, and what is left of each of its tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from snn4.agent.show.dashboard import figure
from snn4.agent.show.stream_tables import measure_rows

NAMES = {"tasks": "SNN", "ann_twin": "ANN"}
"""Of those in ``summary.json`` that were tested."""
BEINGS = {"organism": "SNN", "ann_twin": "ANN twin"}
"""Of those in its ``retention``."""


def tested(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Name and test row of all beings in each task, twins below each other."""
    return [
        (f"{task} {name}", summary[who][task])
        for task in summary["tasks"]
        for who, name in NAMES.items()
        if task in summary[who]
    ]


def score_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """The test of ``summary.json``; the first row names the columns."""
    return [
        ["task", "return", "spikes", "ACs", "MACs", "nJ fp32", "nJ int8"],
        *([name, *_test_cells(row)] for name, row in tested(summary)),
    ]


def _test_cells(row: Mapping[str, Any]) -> list[str]:
    joules = [row["energy_joules"][model] for model in ("45nm_fp32", "45nm_int8")]
    return [
        f"{figure(row['return_mean'])} ± {figure(row['return_std'])}", f"{row['spikes_per_decision']:.1f}",
        f"{row['effective_acs']:.0f}", f"{row['effective_macs']:.0f}", *(f"{value * 1e9:.3f}" for value in joules),
    ]  # fmt: skip


def retention_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """What is left of every task after each, in percent of its reference; the first row names the columns.

    Args:
        found: what `snn4.agent.evaluation.returns.retention` gives.
    """
    after = zip(found["order"], found["normalized"], strict=True)
    percents = [[f"{number} {task}", *(_percent(value) for value in row)] for number, (task, row) in enumerate(after)]
    marks = [[f"{name}, return", *map(_return, found[name].values())] for name in ("chance", "reference")]
    return [["after", *found["tasks"]], *percents, *marks]


def retention_measure_rows(retention: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Average, forgetting and transfer of the normalised returns, and what is kept; the first row names the columns.

    Args:
        retention: of ``summary.json``, by being.
    """
    kept = ("memory_bytes", "replay_bytes")
    told = {being: {**found["measures"], **{key: found.get(key) for key in kept}} for being, found in retention.items()}
    return measure_rows(told, BEINGS, "return")


def _return(value: float | None) -> str:
    return "-" if value is None else figure(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}"


def rich_table(rows: Sequence[Sequence[str]], title: str, apart: int = 0) -> Table:
    """For terminals: names on the left, numbers on the right, and a line above the last rows that stand ``apart``."""
    table = Table(title=title)
    for number, name in enumerate(rows[0]):
        table.add_column(Text(name), justify="right" if number else "left", no_wrap=bool(number))
    for number, row in enumerate(rows[1:], start=1):
        table.add_row(*map(Text, row), end_section=number == len(rows) - 1 - apart)
    return table
