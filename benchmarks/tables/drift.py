"""The table of worlds that change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from snn4.benchmarks.tables.markdown import markdown

MEASURES = ("return_mean", "synaptic_operations")


def table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: two lines per config, with means over the whole life, and over all its worlds in the end."""
    head = ("life", "seeds", "measured", "return, evolving", "without", "difference", "operations, evolving", "without")
    lines = []
    for result in results:
        for prefix, measured in (("", "over the whole life"), ("tested_", "in all its worlds, in the end")):
            value, cost = (result["summary"][f"{prefix}{name}"] for name in MEASURES)
            returns = [_shown(value[name], 1) for name in ("evolving", "awake", "difference")]
            costs = [_shown(cost[name], 0) for name in ("evolving", "awake")]
            lines.append([result["config"], str(len(result["seeds"])), measured, *returns, *costs])
    return markdown(head, lines)


def _shown(found: dict[str, Any], digits: int) -> str:
    half = found["interval95"]
    return f"{found['mean']:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")
