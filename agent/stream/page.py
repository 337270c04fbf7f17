"""The report of a stream: one HTML file with its measures, the accuracy matrices and curves, SNN beside ANN twin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snn4.agent.evaluation.matrix import as_matrix, forgetting_curve, retained
from snn4.agent.run.events import Began, Event, Recalled
from snn4.agent.show.course_charts import draw_lines, draw_matrix
from snn4.agent.show.stream_tables import NAMES, measure_rows
from snn4.agent.training.page import figure, heading, html_table, write_page


def rows_of(events: Iterable[Event]) -> tuple[list[str], dict[str, list[Recalled]]]:
    """Names of the experiences, and what each being recalled after each of them, as far as ``events`` go."""
    names: list[str] = []
    rows: dict[str, list[Recalled]] = {}
    for event in events:
        if isinstance(event, Began):
            names = [task["environment"] for task in event.tasks]
        elif isinstance(event, Recalled):  # some are lived again after a checkpoint
            rows[event.being] = [*rows.get(event.being, [])[: event.learned], event]
    return names, rows


def write_stream_report(
    path: Path, title: str, events: Iterable[Event], costs: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Write the file ``path``; it is there completely, or as it was before.

    Args:
        path: of the HTML file; its folder exists.
        title: plain text.
        events: of the journal; a stream that goes on is drawn as far as it has come.
        costs: of a decision, by being, where they are known.
    """
    names, rows = rows_of(events)
    told = {being: {**retained(theirs), **(costs or {}).get(being, {})} for being, theirs in rows.items()}
    write_page(path, title, _sections(names, told))


def _sections(names: Sequence[str], told: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not told:
        yield heading("Nothing has been recalled yet")
        return
    yield heading("Measures") + html_table(measure_rows(told))
    yield heading("Accuracy matrix")
    for being, one in told.items():
        drawn = draw_matrix(one["matrix"], names, f"{NAMES[being]}: accuracy, %")
        yield figure(drawn, "In row 0 nothing was learned yet.")
    yield heading("Learning and forgetting")
    averages = {NAMES[being]: [100 * value for value in one["average_accuracies"]] for being, one in told.items()}
    yield figure(draw_lines(averages, "average accuracy", "%"), "Over all experiences learned so far.")
    lost = {NAMES[being]: _percents(forgetting_curve(as_matrix(one["matrix"]))) for being, one in told.items()}
    yield figure(draw_lines(lost, "forgetting", "%"), "Accuracy just after learning minus that now.")
    for number, name in enumerate(names):
        kept = {NAMES[being]: _column(one["matrix"], number) for being, one in told.items()}
        yield figure(draw_lines(kept, f"{number + 1}: {name}", "accuracy, %"), "")


def _column(matrix: Sequence[Sequence[float]], number: int) -> list[float | None]:
    """Accuracy on one experience from when it was learned on."""
    return [100 * row[number] if learned > number else None for learned, row in enumerate(matrix)][1:]


def _percents(values: Sequence[float]) -> list[float | None]:
    return [None if value != value else 100 * value for value in values]
