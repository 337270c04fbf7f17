"""The table of evolving lives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from snn4.benchmarks.tables.markdown import markdown, spread

SHOWN = ("return_mean", "synaptic_operations")


def table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: one line per config, each policy with its return and its synaptic operations per decision."""
    head = ("life", "seeds", "shipped", "best of T = 1, 2, 4", "evolved", "saved, %", "random search", "hypervolume")
    lines = []
    for result in results:
        found, seeds = result["summary"], len(result["seeds"])
        shipped, best, evolved, random = (
            " at ".join(spread(found[name][key], digits) for key, digits in zip(SHOWN, (1, 0), strict=True))
            for name in ("shipped", "best hand-set", "evolved", "random")
        )
        saved = " / ".join(f"{100 * found['saved'][name]['mean']:.0f}" for name in ("shipped", "best hand-set"))
        above = f"above random in {found['hypervolume above random']} of {seeds}"
        lines.append([result["config"], str(seeds), shipped, best, evolved, saved, random, above])
    return markdown(head, lines)
