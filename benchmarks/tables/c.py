"""The table of exported C."""

from __future__ import annotations

from typing import Any

from snn4.benchmarks.tables.markdown import markdown

CONTENDERS = {
    "c": "C, called in a loop of C",
    "c_from_python": "C, called from Python (ctypes)",
    "engine": "event-driven engine, called from Python",
    "predict": "policy.predict of stable-baselines3",
}
"""Who decides, by the names in the record."""


def table(result: dict[str, Any]) -> str:
    """Markdown: a line per network, microseconds per decision."""
    lines = []
    for row in result["seeds"]:
        sizes, kib = "-".join(map(str, row["neurons"])), row["bytes"]["flash"] / 1024
        times = [f"{row['seconds_per_decision'][name] * 1e6:.2f}" for name in CONTENDERS]
        lines.append([f"{row['environment']}, {sizes}, T = {row['T']}", f"{kib:.1f} KiB", *times])
    return markdown(["network", "flash", *(f"{name}, µs" for name in CONTENDERS.values())], lines)
