"""The table of runs in the integers of Loihi."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from snn4.benchmarks.tables.markdown import markdown


def table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: a line per result and number of bits; means over seeds, and their range."""
    lines = []
    for result in results:
        for bits in dict.fromkeys(row["bits"] for row in result["seeds"]):
            rows = [row for row in result["seeds"] if row["bits"] == bits]
            lines.append([result["config"], str(len(rows)), str(rows[0]["T"]), str(bits), *_cells(rows)])
    head = ["run", "seeds", "T", "bits", "float", "Loihi", "equal decisions, %", "equal spikes by layer, %"]
    return markdown(head, lines)


def _cells(rows: list[dict[str, Any]]) -> list[str]:
    key, factor, digits = ("return_mean", 1, 1) if "return_mean" in rows[0]["float"] else ("top1_accuracy", 100, 2)
    scores = [_range([factor * row[engine][key] for row in rows], digits) for engine in ("float", "loihi")]
    decisions = _range([100 * row["agreement"]["decisions"] for row in rows], 2)
    layers = zip(*(row["agreement"]["spikes"].values() for row in rows), strict=True)
    return [*scores, decisions, ", ".join(f"{100 * sum(layer) / len(layer):.2f}" for layer in layers)]


def _range(values: list[float], digits: int) -> str:
    """The mean, and the least and most of several."""
    mean = f"{sum(values) / len(values):.{digits}f}"
    least, most = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return mean if least == most else f"{mean} ({least} to {most})"
