"""The report of a life: one HTML file with its test, what is left of each task, and curves over its steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snn4.agent.life.life import ORGANISM
from snn4.agent.life.tables import BEINGS, retention_measure_rows, retention_rows, score_rows, tested
from snn4.agent.run.events import Entered, Evaluated, Event, Learned
from snn4.agent.show.course_charts import draw_course, draw_matrix
from snn4.agent.show.tables import prefixed
from snn4.agent.training.page import energy_sources, figure, heading, html_table, write_page
from snn4.policies.metering.energy import ENERGY_MODELS


def write_life_report(path: Path, title: str, events: Iterable[Event], summary: Mapping[str, Any] | None) -> None:
    """Write the file ``path``; it is there completely, or as it was before.

    Args:
        path: of the HTML file; its folder exists.
        title: plain text.
        events: of the journal; a life that goes on is drawn as far as it has come.
        summary: what ``summary.json`` holds; None for a life that goes on.
    """
    results = _results(summary) if summary else [heading("Not tested yet")]
    write_page(path, title, [*results, *_courses(list(events), summary)])


def _results(summary: Mapping[str, Any]) -> Iterator[str]:
    yield heading("Test, per decision") + html_table(score_rows(summary))
    if retained := summary.get("retention", {}):
        yield heading("What is left of each task")
    for being, found in retained.items():
        before = [None] * len(found["tasks"])
        title = f"{BEINGS[being]}: return, %"
        drawn = draw_matrix([before, *found["normalized"]], found["tasks"], title, "tasks lived")
        yield figure(
            drawn,
            "0 is chance, 100 the reference; validation with the weights kept, above the diagonal as the task begins.",
        )
        yield html_table(retention_rows(found))
    if retained:
        yield html_table(retention_measure_rows(retained))
    yield heading("Joules a decision, by energy model")
    joules = [(name, row["energy_joules"]) for name, row in tested(summary)]
    rows = [[name, *(prefixed(values.get(model)) for model in ENERGY_MODELS)] for name, values in joules]
    yield html_table([["", *ENERGY_MODELS], *rows]) + energy_sources()


def _courses(events: Sequence[Event], summary: Mapping[str, Any] | None) -> Iterator[str]:
    """Pictures of the returns and of the spikes in each task, over the steps lived."""
    validated = [event for event in events if isinstance(event, Evaluated) and not event.final]
    beginnings = _beginnings(events)
    if validated:
        yield heading("Validation over the life")
    references = summary["retention"][ORGANISM]["reference"] if summary and "retention" in summary else {}
    for task in dict.fromkeys(name for event in validated for name in event.scores):
        mark = references.get(task)
        returns = draw_course(_lines(validated, task, "return_mean"), task, "return", beginnings, mark)
        yield figure(returns, f"Upright: a task begins.{'' if mark is None else ' Level: the reference.'}")
        spikes = _lines([event for event in validated if event.being == ORGANISM], task, "spikes_per_decision")
        yield figure(draw_course(spikes, task, "spikes a decision", beginnings), "")


def _lines(events: Sequence[Evaluated], task: str, key: str) -> dict[str, list[tuple[float, float]]]:
    """Points (age, score) of each being in ``task``."""
    beings = dict.fromkeys(event.being for event in events)
    return {
        BEINGS[being]: [(e.age, e.scores[task][key]) for e in events if e.being == being and task in e.scores]
        for being in beings
    }


def _beginnings(events: Sequence[Event]) -> list[int]:
    """Ages of the organism at which its second and later tasks began."""
    age, found = 0, []
    for event in events:
        if isinstance(event, Learned) and event.being == ORGANISM:
            age = event.age
        elif isinstance(event, Entered) and event.being == ORGANISM and event.number and not event.step:
            found.append(age)
    return found
