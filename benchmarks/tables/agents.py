"""The table of converted agents."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from snn4.benchmarks.tables.markdown import markdown


def cell_name(row: dict[str, Any]) -> str:
    """The name of all seeds of a cell in the summary."""
    return f"{row['environment']}, {row['neuron']}, T={row['T']}"


def table(result: dict[str, Any]) -> str:
    """Markdown: one line per environment, neuron and T."""
    lines, rows = [], result["seeds"]
    for environment, neuron, T in dict.fromkeys((row["environment"], row["neuron"], row["T"]) for row in rows):
        same = [row for row in rows if (row["environment"], row["neuron"], row["T"]) == (environment, neuron, T)]
        returns = {name: [row["scores"][name]["return_mean"] for row in same] for name in ("ann_twin", "network")}
        loss = result["summary"][cell_name(same[0])]
        means = [f"{fmean(values):.1f}" for values in returns.values()]
        spread = "" if loss["interval95"] is None else f" ± {loss['interval95']:.2f}"
        name = f"{same[0]['algorithm']} in {environment}"
        lines.append([name, neuron, str(T), str(len(same)), *means, f"{loss['mean']:.2f}{spread}"])
    return markdown(["agent", "neuron", "T", "seeds", "ANN", "SNN", "loss above chance, %"], lines)
