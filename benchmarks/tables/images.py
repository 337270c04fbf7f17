"""The table of classifiers."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean
from typing import Any

from snn4.agent.show.text import counted
from snn4.benchmarks.tables.markdown import markdown, spread


def table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: one line per result; a note below says what the energies include."""
    head = ["config", "runs", "parameters", "T", "SNN top-1 %", "at T = 1", "ANN top-1 %", "SNN spikes",
            "SNN µJ fp32 (int8)", "ANN µJ fp32 (int8)", "training minutes"]  # fmt: skip
    results = list(results)
    measured = [row for result in results for seed in result["seeds"] for row in seed["indicators"]]
    return f"{markdown(head, [_line(result) for result in results])}\n\n{counted(measured)}"


def _line(result: dict[str, Any]) -> list[str]:
    rows, means = result["seeds"], result["summary"]
    minutes = fmean(row["training_seconds"]["network"] / 60 for row in rows)
    return [
        result["config"],
        f"{len(rows)} folds" if "folds" in " ".join(rows[0]["changes"]) else str(len(rows)),
        f"{rows[0]['indicators'][0]['parameters'] / 1e6:.2f}M", str(rows[0]["steps"]),
        _percent(means["SNN fp32"].get("top1_accuracy")), _percent(means["top1_accuracy_by_step"][0]),
        _percent(means["ANN fp32"].get("top1_accuracy")), f"{means['SNN fp32']['spikes_per_decision']['mean']:,.0f}",
        _energy(means, "SNN"), _energy(means, "ANN"), f"{minutes:.0f}",
    ]  # fmt: skip


def _percent(value: dict[str, Any] | None) -> str:
    return "not trained" if value is None else spread(value, 2, 100)


def _energy(means: dict[str, Any], name: str) -> str:
    fp32, int8 = (
        means[f"{name} {precision}"]["energy_joules"][f"45nm_{precision}"]["mean"] * 1e6
        for precision in ("fp32", "int8")
    )
    return f"{fp32:.1f} ({int8:.2f})"
