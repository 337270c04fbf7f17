"""The tables of compressed networks and of the engine that runs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import fmean
from typing import Any

from snn4.benchmarks.tables.markdown import markdown

ENGINE = "engine"
"""The config of the record of the engine."""


def network_table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: one line per setting of each network, means over seeds."""
    lines = [line for result in results if result["config"] != ENGINE for line in _lines(result)]
    head = ["network", "setting", "seeds", "before", "after", "parameters", "synapses", "accumulates", "bytes"]
    return markdown(head, lines)


def engine_table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: one line per policy and number of steps."""
    rows = next(result["seeds"] for result in results if result["config"] == ENGINE)
    cells = [
        [row["policy"], str(row["T"]), f"{1e6 * row['seconds']:.1f}", f"{row['times_as_fast']:.2f}"] for row in rows
    ]
    return markdown(["policy", "T", "µs a decision", "times as fast"], cells)


def _lines(result: dict[str, Any]) -> Iterator[list[str]]:
    for changes in dict.fromkeys(tuple(row["changes"]) for row in result["seeds"]):
        same = [row["test"] for row in result["seeds"] if tuple(row["changes"]) == changes]
        mean = {part: fmean(row[part]["return_mean"] for row in same) for part in ("before", "after")}
        is_return = "episodes" in same[0]["before"]
        scores = [f"{value:.1f}" if is_return else f"{100 * value:.2f}" for value in mean.values()]
        costs = [_saved(same, key) for key in ("parameters", "synapses", "effective_acs", "bytes")]
        yield [result["config"], ", ".join(changes), str(len(same)), *scores, *costs]


def _saved(rows: list[dict[str, Any]], key: str) -> str:
    """The change in percent."""
    return f"{100 * fmean(row['after'][key] / row['before'][key] for row in rows) - 100:+.0f} %"
