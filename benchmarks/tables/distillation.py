"""The table of what teachers add."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from snn4.benchmarks.tables.markdown import markdown

WHO = ("SNN", "ANN twin", "int8 twin")
LEARNED = {"taught": "with a teacher", "alone": "alone"}


def table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: two lines per result; accuracies are in percent."""
    lines = []
    for result in results:
        found, seeds = result["summary"], str(len(result["seeds"]))
        factor = 100 if "data" in result["seeds"][0] else 1
        for name, learned in LEARNED.items():
            cells = [_shown(found[name].get(who), factor) for who in WHO]
            gain = _shown(found["gain"], factor) if name == "taught" else ""
            lines.append([result["config"], seeds, learned, *cells, gain])
    return markdown(["config", "seeds", "learned", *WHO, "gain of the SNN"], lines)


def _shown(value: dict[str, Any] | None, factor: int) -> str:
    if value is None:
        return "-"
    half = "" if value["interval95"] is None else f" ± {factor * value['interval95']:.2f}"
    return f"{factor * value['mean']:.2f}{half}"
