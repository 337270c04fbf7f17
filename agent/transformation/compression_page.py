"""The table of a compression, for terminals and for its page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Group
from rich.text import Text

from snn4.agent.run.events import Event, Learned
from snn4.agent.show import classifier_page
from snn4.agent.show.charts import draw_curve
from snn4.agent.show.page import figure, heading, html_table, paragraph
from snn4.agent.show.tables import Fitting
from snn4.agent.show.text import figure as number
from snn4.agent.show.text import percent, prefixed
from snn4.agent.transformation.comparison import AFTER, BEFORE, lines

Summary = Mapping[str, Any]


def tables(summary: Summary) -> Group:
    """Before and after, and of ``evaluate`` the tables of the compressed classifier."""
    rows = comparison_rows(summary)
    table = Fitting("before and after compression, per decision", rows)
    examined = [classifier_page.tables(summary)] if "indicators" in summary else []
    return Group(table, *map(Text, notes(summary)), *examined)


def sections(events: Iterable[Event], summary: Summary | None) -> Iterator[str]:
    """Before and after, and the curves of the recovery; before the end the curves alone."""
    learned = [event for event in events if isinstance(event, Learned) and event.losses]
    if summary is not None:
        yield heading("Before and after") + html_table(comparison_rows(summary))
        yield "".join(map(paragraph, notes(summary)))
    if summary is not None and "indicators" in summary:  # of evaluate
        yield from classifier_page.sections((), summary)
    elif learned:
        yield heading("Recovery")
        for name in dict.fromkeys(name for event in learned for name in event.losses):
            values = [event.losses[name] for event in learned if name in event.losses]
            yield figure(draw_curve(name.rpartition("/")[2].replace("_", " "), values), "")
    elif summary is None:
        yield paragraph("Nothing is finished yet.")


def comparison_rows(summary: Summary) -> list[list[str]]:
    """One indicator per row; the first row names the columns."""
    pair = [summary["comparison"][key] for key in (BEFORE, AFTER)]
    is_return = "episodes" in pair[0]
    score = ["return" if is_return else "top-1 %", *(_score(row) for row in pair), _difference(pair, is_return)]
    rows = [["", "before", "after", "change"], score]
    for name, label in _INDICATORS.items():
        rows.append([label, *(prefixed(row[name]) for row in pair), _change(pair[0][name], pair[1][name])])
    for model in ("45nm_fp32", "45nm_int8_memory"):
        joules = [row["energy_joules"].get(model) for row in pair]
        rows.append([f"{model.replace('_', ' ')}, J", *map(prefixed, joules), _change(*joules)])
    return rows


_INDICATORS = {
    "spikes_per_decision": "spikes", "effective_acs": "accumulates", "effective_macs": "multiply-accumulates",
    "latency_steps": "steps", "latency_seconds": "seconds on one core", "parameters": "parameters",
    "synapses": "synapses", "bits": "bits of a weight", "bytes": "bytes",
}  # fmt: skip


def _score(row: Summary) -> str:
    return number(row["return_mean"]) if "episodes" in row else percent(row["return_mean"])


def _difference(pair: list[Summary], is_return: bool) -> str:
    before, after = (row["return_mean"] for row in pair)
    return _change(before, after) if is_return else f"{100 * (after - before):+.2f} points"


def _change(before: float | None, after: float | None) -> str:
    return f"{100 * (after / before - 1):+.1f} %" if before and after is not None else "-"


def notes(summary: Summary) -> list[str]:
    """What was done, and on what it was measured."""
    done = "; ".join(lines(summary["compressed"]))
    found = [f"{done[:1].upper()}{done[1:]}."] if done else []
    if (epochs := summary.get("recovered_epochs")) is not None:
        found.append(f"Recovered for {epochs} epochs." if epochs else "Without recovery.")
    if (steps := summary.get("recovered_steps")) is not None:
        found.append(f"Recovered for {steps:,} steps." if steps else "Without recovery.")
    if summary["part"] == "validation":
        found.append("Measured on validation data; test it with: snn4-agent evaluate RUN")
    else:
        found.append("Measured on test data that chose nothing.")
    return found
