"""The result of a stream, SNN beside ANN twin: tables for terminals, and the sections of its page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from snn4.agent.evaluation.matrix import as_matrix, forgetting_curve, retained
from snn4.agent.run.beings import ANN_TWIN, NETWORK, name_of
from snn4.agent.run.events import Began, Evaluated, Event
from snn4.agent.show.charts import draw_lines, draw_matrix
from snn4.agent.show.page import figure, heading, html_table, paragraph
from snn4.agent.show.tables import measure_rows, rich_table
from snn4.agent.show.text import counted

Summary = Mapping[str, Any]
COSTS = ("spikes_per_decision", "energy_joules", "neuron_macs", "neuron_acs")
"""Costs per decision; version 0.1 wrote the first two."""


def tables(summary: Summary) -> Group:
    """The measures of ``summary.json``."""
    config = summary["config"]
    title = f"{config['name']}, {config['strategy']['name']}, seed {summary['seed']}"
    beings = _beings(summary)
    return Group(rich_table(measure_rows(beings), title), Text(counted(beings.values()), style="dim"))


def sections(events: Iterable[Event], summary: Summary | None) -> Iterator[str]:
    """Measures, matrices and curves, as far as the stream has come."""
    names, rows = rows_of(events)
    costs = {
        being: {key: result[key] for key in COSTS if key in result} for being, result in _beings(summary or {}).items()
    }
    results = {being: {**retained(tests), **costs.get(being, {})} for being, tests in rows.items()}
    if not results:
        yield heading("Nothing has been tested yet")
        return
    sentence = paragraph(counted(costs.values())) if costs else ""
    yield heading("Measures") + html_table(measure_rows(results)) + sentence
    yield heading("Accuracy matrix")
    for being, result in results.items():
        matrix = draw_matrix(result["matrix"], names, f"{name_of(being)}: accuracy, %")
        yield figure(matrix, "In row 0 nothing was learned yet.")
    yield from _curves(names, results)


def rows_of(events: Iterable[Event]) -> tuple[list[str], dict[str, list[Evaluated]]]:
    """Names of the experiences, and the tests of each being after each experience, as far as ``events`` go."""
    names: list[str] = []
    rows: dict[str, list[Evaluated]] = {}
    for event in events:
        if isinstance(event, Began):
            names = [task["environment"] for task in event.tasks]
        elif isinstance(event, Evaluated):  # after a checkpoint, tests are repeated
            rows[event.being] = [*rows.get(event.being, [])[: event.number], event]
    return names, rows


def _curves(names: Sequence[str], results: Mapping[str, Summary]) -> Iterator[str]:
    yield heading("Learning and forgetting")
    named = {name_of(being): result for being, result in results.items()}
    averages = {name: [100 * value for value in result["average_accuracies"]] for name, result in named.items()}
    yield figure(draw_lines(averages, "average accuracy", "%"), "Mean over all experiences learned so far.")
    lost = {name: _percents(forgetting_curve(as_matrix(result["matrix"]))) for name, result in named.items()}
    yield figure(draw_lines(lost, "forgetting", "%"), "Accuracy just after learning, minus the present accuracy.")
    for number, experience in enumerate(names):
        kept = {name: _column(result["matrix"], number) for name, result in named.items()}
        yield figure(draw_lines(kept, f"{number + 1}: {experience}", "accuracy, %"), "")


def _beings(summary: Summary) -> dict[str, Summary]:
    return {being: summary[being] for being in (NETWORK, ANN_TWIN) if being in summary}


def _column(matrix: Sequence[Sequence[float]], number: int) -> list[float | None]:
    """Accuracy on one experience since it was learned; None before."""
    return [100 * row[number] if learned > number else None for learned, row in enumerate(matrix)][1:]


def _percents(values: Sequence[float]) -> list[float | None]:
    return [None if value != value else 100 * value for value in values]
