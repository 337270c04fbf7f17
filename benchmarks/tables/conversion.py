"""The table of converted classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snn4.benchmarks.tables.markdown import markdown


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: one line per network, method and neuron; columns are steps."""
    steps = sorted({row["T"] for result in results for row in result["seeds"] if "T" in row})
    lines = []
    for result in results:
        ann = next(row["top1_accuracy"] for row in result["seeds"] if row["method"] == "ann")
        converted = [row for row in result["seeds"] if "T" in row]
        for method, neuron in dict.fromkeys((row["method"], row["neuron"]) for row in converted):
            cells = []
            for T in steps:
                found = [
                    r["top1_accuracy"] for r in converted if (r["method"], r["neuron"], r["T"]) == (method, neuron, T)
                ]
                cells.append(f"{100 * sum(found) / len(found):.2f}" if found else "-")
            lines.append([result["config"], f"{100 * ann:.2f}", method, neuron, *cells])
    return markdown(["network", "ANN", "method", "neuron", *(f"T={T}" for T in steps)], lines)
