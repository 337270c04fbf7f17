"""The table of integer networks beside Lava."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from snn4.benchmarks.tables.markdown import markdown

COMPARED = ("spikes", "u", "v")


def table(result: dict[str, Any]) -> str:
    """Markdown: a line for all random networks, and one for each exported network."""
    head = ["network", "bits", "steps", "spikes, u and v equal", "actions equal", "return in Lava", "trained"]
    lines = []
    for row in result["seeds"]:
        layers = row.get("layers", [row])
        equal = f"{100 * min(layer[name] for layer in layers for name in COMPARED):g} %"
        name = row.get("name") or f"{row['networks']} random ones"
        played = row.get("episodes") or {}
        returns = [f"{fmean(played['returns'][key]):.1f}" if played else "-" for key in ("lava", "trained")]
        actions = f"{played['equal']:,} of {played['decisions']:,}" if played else "-"
        lines.append([name, str(row.get("bits", "-")), f"{row['steps']:,}", equal, actions, *returns])
    return markdown(head, lines)
