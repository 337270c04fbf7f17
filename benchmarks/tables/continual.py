"""The table of strategies against forgetting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.benchmarks.tables.markdown import markdown


def table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: one line per benchmark and strategy."""
    head = ["benchmark", "strategy", "seeds", "SNN average accuracy %", "ANN twin %", "SNN - ANN",
            "incremental SNN", "ANN", "forgetting SNN", "ANN", "memory kB SNN", "ANN"]  # fmt: skip
    return markdown(head, [line for result in results for line in _lines(result)])


def _lines(result: dict[str, Any]) -> Iterator[list[str]]:
    for name, strategy in sorted(result["strategies"].items(), key=lambda item: _accuracy(item[1]), reverse=True):
        intervals = strategy["summary"]
        snn, ann = intervals[NETWORK], intervals.get(ANN_TWIN, {})
        difference = intervals.get("difference", {})
        cells = [_percent(measures.get("average_accuracy")) for measures in (snn, ann, difference)]
        for key in ("average_incremental_accuracy", "forgetting"):
            cells += [_percent(snn.get(key)), _percent(ann.get(key))]
        cells += [_kilobytes(snn.get("memory_bytes")), _kilobytes(ann.get("memory_bytes"))]
        yield [result["config"], name, str(len(strategy["seeds"])), *cells]


def _accuracy(strategy: dict[str, Any]) -> float:
    return float(strategy["summary"][NETWORK]["average_accuracy"]["mean"])


def _percent(value: dict[str, Any] | None) -> str:
    if value is None:
        return "-"
    spread = "" if value["interval95"] is None else f" ± {100 * value['interval95']:.2f}"
    return f"{100 * value['mean']:.2f}{spread}"


def _kilobytes(value: dict[str, Any] | None) -> str:
    return "-" if value is None else f"{value['mean'] / 1000:,.0f}"
