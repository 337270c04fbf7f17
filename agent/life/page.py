"""The result of a life: tables for terminals, and the sections of its page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from snn4.agent.run.beings import ANN_TWIN, ORGANISM, RELU_TWIN, name_of
from snn4.agent.run.events import Entered, Evaluated, Event, Learned
from snn4.agent.show import evolution_page
from snn4.agent.show.charts import draw_course, draw_matrix, draw_tradeoff
from snn4.agent.show.classifier_charts import draw_raster, draw_rates
from snn4.agent.show.page import energy_sources, figure, heading, html_table, paragraph
from snn4.agent.show.tables import Fitting, measure_rows, rich_table
from snn4.agent.show.text import counted, prefixed, spread
from snn4.agent.show.text import figure as number
from snn4.policies.metering.energy import ENERGY_MODELS

Summary = Mapping[str, Any]
AGREEMENT = "train/agreement"
ENERGY = "45nm_fp32_memory"
BEINGS = {"tasks": ORGANISM, "ann_twin": ANN_TWIN, "relu_twin": RELU_TWIN}
"""Tested beings, by their keys in ``summary.json``."""


def tables(summary: Summary) -> Group:
    """The test; after several tasks, the retention of each; with evolution, the genes that it has changed."""
    name = f"{summary['config']['name']}, seed {summary['seed']}"
    retention = summary.get("retention", {})
    title = "what is left of each task, % (0 chance, 100 reference)"
    retained = [
        rich_table(retention_rows(result), f"{name_of(being)}: {title}", apart=2)  # returns, below percents
        for being, result in retention.items()
    ]
    retained += [rich_table(retention_measure_rows(retention), "of these percents")] if retention else []
    energies = Text(counted(row for _, row in _tested(summary)), style="dim")
    rows = score_rows(summary)
    table = Fitting(f"{name}: test, per decision", rows, [row[:-1] for row in rows], framed=True)
    evolved = [evolution_page.tables(summary["evolution"])] if "evolution" in summary else []
    return Group(table, energies, *retained, *evolved)


def sections(events: Iterable[Event], summary: Summary | None) -> Iterator[str]:
    """The test, the retention of each task, evolution, and curves over the steps, as far as the life has come."""
    yield from _results(summary) if summary else [heading("Not tested yet")]
    events = list(events)
    yield from _tradeoffs(events, summary or {})
    yield from _spikes(events, summary or {})
    yield from evolution_page.sections(events)
    yield from _lessons(events)
    yield from _courses(events, summary)


def _results(summary: Summary) -> Iterator[str]:
    yield heading("Test, per decision") + html_table(score_rows(summary))
    if retention := summary.get("retention", {}):
        yield heading("What is left of each task")
    for being, result in retention.items():
        before = [None] * len(result["tasks"])
        title = f"{name_of(being)}: return, %"
        yield figure(
            draw_matrix([before, *result["normalized"]], result["tasks"], title, "finished tasks"),
            "0 is chance, 100 the reference. Validation of the best weights; above the diagonal, before the task.",
        )
        yield html_table(retention_rows(result))
    if retention:
        yield html_table(retention_measure_rows(retention))
    yield heading("Joules per decision, by energy model")
    joules = [(name, row["energy_joules"]) for name, row in _tested(summary)]
    rows = [[name, *(prefixed(values.get(model)) for model in ENERGY_MODELS)] for name, values in joules]
    sentence = counted(row for _, row in _tested(summary))
    yield html_table([["", *ENERGY_MODELS], *rows]) + paragraph(sentence) + energy_sources()


def _tradeoffs(events: Sequence[Event], summary: Summary) -> Iterator[str]:
    """Return against energy of each being in each task: validations on the way, and the test at the end."""
    for task in summary.get("tasks", {}):
        points: dict[str, list[tuple[float, float]]] = {}
        for event in events:
            score = event.scores.get(task) if isinstance(event, Evaluated) else None
            if isinstance(event, Evaluated) and score and (joules := score["energy_joules"].get(ENERGY)):
                points.setdefault(name_of(event.being), []).append((1e9 * joules, score["return_mean"]))
        if points:
            picture = draw_tradeoff(points, task, f"nJ per decision ({ENERGY.replace('_', ' ')})", "return")
            yield figure(picture, "Small: validations on the way. Large: the test.")


def _spikes(events: Sequence[Event], summary: Summary) -> Iterator[str]:
    """The spikes of real decisions, and the rates of the layers in the test."""
    if "decisions" not in summary:
        return
    task, number, layers = (summary["decisions"][key] for key in ("task", "number", "layers"))
    yield heading("Spikes")
    raster = draw_raster(layers, 8, len(layers[0]["spikes"]) // number)
    yield figure(raster, f"The first {number} decisions of the first test episode in {task}, with their inner steps.")
    tested = (e.scores[task] for e in events if isinstance(e, Evaluated) and e.being == ORGANISM and task in e.scores)
    *_, last = ({}, *tested)
    if rates := last.get("spike_rates"):
        named = [{"name": f"layer {place + 1}", "spike_rate": rate} for place, rate in enumerate(rates)]
        yield figure(draw_rates(named), f"Mean over all test episodes in {task}.")


def _lessons(events: Sequence[Event]) -> Iterator[str]:
    """The agreement with the teacher in each task that has one, over the steps lived."""
    taught = [event for event in events if isinstance(event, Learned) and AGREEMENT in event.losses]
    if taught:
        yield heading("Agreement with the teacher")
    for task in dict.fromkeys(event.task for event in taught):
        lines: dict[str, list[tuple[float, float]]] = {}
        for event in taught:
            if event.task == task:
                lines.setdefault(name_of(event.being), []).append((event.age, 100 * event.losses[AGREEMENT]))
        caption = (
            "On what each round met, before it was learned. Discrete: equal best actions. Box: 100 % less the mean "
        )
        yield figure(draw_course(lines, task, "agreement, %"), f"{caption}distance of actions in units of their range.")


def _courses(events: Sequence[Event], summary: Summary | None) -> Iterator[str]:
    """Returns and spikes in each task, over the steps lived."""
    validated = [event for event in events if isinstance(event, Evaluated) and event.part == "validation"]
    beginnings = _beginnings(events)
    if validated:
        yield heading("Validation over the life")
    references = summary["retention"][ORGANISM]["reference"] if summary and "retention" in summary else {}
    for task in dict.fromkeys(name for event in validated for name in event.scores):
        mark = references.get(task)
        returns = draw_course(_lines(validated, task, "return_mean"), task, "return", beginnings, mark)
        yield figure(returns, f"Vertical: a task begins.{'' if mark is None else ' Horizontal: the reference.'}")
        spikes = _lines([event for event in validated if event.being == ORGANISM], task, "spikes_per_decision")
        yield figure(draw_course(spikes, task, "spikes per decision", beginnings), "")


def _lines(events: Sequence[Evaluated], task: str, key: str) -> dict[str, list[tuple[float, float]]]:
    """Points (age, score) of each being in ``task``."""
    beings = dict.fromkeys(event.being for event in events)
    return {
        name_of(being): [
            (event.age, event.scores[task][key]) for event in events if event.being == being and task in event.scores
        ]
        for being in beings
    }


def _beginnings(events: Sequence[Event]) -> list[int]:
    """Ages of the organism at which its second and later tasks began."""
    age, beginnings = 0, []
    for event in events:
        if isinstance(event, Learned) and event.being == ORGANISM:
            age = event.age
        elif isinstance(event, Entered) and event.being == ORGANISM and event.number and not event.step:
            beginnings.append(age)
    return beginnings


def _tested(summary: Summary) -> list[tuple[str, Summary]]:
    """Name and test row of every being in each task, grouped by task."""
    return [
        (f"{task} {name_of(being)}", summary[key][task])
        for task in summary["tasks"]
        for key, being in BEINGS.items()
        if task in summary.get(key, {})
    ]


def score_rows(summary: Summary) -> list[list[str]]:
    """The test; the first row names the columns."""
    return [
        ["task", "return", "spikes", "ACs", "MACs", "nJ fp32", "nJ int8", "nJ int8 memory"],
        *([name, *_test_cells(row)] for name, row in _tested(summary)),
    ]


def _test_cells(row: Summary) -> list[str]:
    joules = [row["energy_joules"].get(model) for model in ("45nm_fp32", "45nm_int8", "45nm_int8_memory")]
    return [
        spread(row["return_mean"], row["return_std"]), f"{row['spikes_per_decision']:.1f}",
        f"{row['effective_acs']:.0f}", f"{row['effective_macs']:.0f}", *map(_nanojoules, joules),
    ]  # fmt: skip


def _nanojoules(joules: float | None) -> str:
    return "-" if joules is None else f"{joules * 1e9:.3f}"


def retention_rows(retention: Summary) -> list[list[str]]:
    """Normalised return in every task after each task, in percent; the first row names the columns.

    Args:
        retention: of one being, from `snn4.agent.evaluation.returns.retention`.
    """
    after = zip(retention["order"], retention["normalized"], strict=True)
    rows = [[f"{place} {task}", *(_percent(value) for value in row)] for place, (task, row) in enumerate(after)]
    marks = [[f"{name}, return", *map(_return, retention[name].values())] for name in ("chance", "reference")]
    return [["after", *retention["tasks"]], *rows, *marks]


def retention_measure_rows(retention: Mapping[str, Summary]) -> list[list[str]]:
    """Average, forgetting and transfer of the normalised returns, and memory; the first row names the columns.

    Args:
        retention: of ``summary.json``, by being.
    """
    measures = {
        being: {**result["measures"], **{key: result.get(key) for key in ("memory_bytes", "replay_bytes")}}
        for being, result in retention.items()
    }
    return measure_rows(measures, "return")


def _return(value: float | None) -> str:
    return "-" if value is None else number(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}"
