"""The tables of control tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from snn4.agent.show.text import counted
from snn4.benchmarks.tables.markdown import markdown, spread


def table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: all results, then the statistics of `efficiency`.

    Results without validations have no statistics, and neither have lives with a teacher: they begin with its lessons.
    """
    results = list(results)
    rewarded = [result for result in results if "validations" in result["seeds"][0] and not _is_taught(result)]
    if not rewarded:
        return _returns(results)
    from snn4.benchmarks.suites import efficiency  # its statistics need SciPy

    return f"{_returns(results)}\n\n{efficiency.table(rewarded)}"


def _is_taught(result: dict[str, Any]) -> bool:
    return any(change.startswith("teacher") for change in result["seeds"][0].get("changes", ()))


def _returns(results: Iterable[dict[str, Any]]) -> str:
    """One line per result and task; for several tasks, with the retention in percent.

    A note below the table says what its energies include.
    """
    head = ["task", "seeds", "steps", "SNN return", "ANN return", "SNN spikes", "SNN nJ fp32 (int8)",
            "ANN nJ fp32 (int8)"]  # fmt: skip
    lines, measured = list[list[str]](), list[dict[str, Any]]()
    for result in results:
        measured += [row for seed in result["seeds"] for who in ("tasks", "ann_twin") for row in seed[who].values()]
        for task, snn in result["summary"]["tasks"].items():
            ann, first = result["summary"].get("ann_twin", {}).get(task), result["seeds"][0]["tasks"][task]
            alone = len(result["summary"]["tasks"]) == 1 and not any(line[0] == task for line in lines)
            name = task if alone else f"{result['config']}: {task}"
            cells = [name, str(len(result["seeds"])), f"{first['env_steps']:,}", _return(snn), _return(ann)]
            cells += [f"{snn['spikes_per_decision']['mean']:.0f}", _energy(snn), _energy(ann)]
            lines.append(cells)
    return f"{markdown(head, lines)}\n\n{counted(measured)}"


def _return(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not trained"
    text = spread(row["return_mean"], 1)
    return f"{text} ({100 * row['normalized']['mean']:.0f} %)" if "normalized" in row else text


def _energy(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    fp32, int8 = (row[f"energy_joules_45nm_{kind}"]["mean"] * 1e9 for kind in ("fp32", "int8"))
    return f"{fp32:.2f} ({int8:.2f})"
