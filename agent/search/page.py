"""The result of an evolution: tables for terminals, and the sections of its page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from snn4.agent.evolution.dominance import undominated
from snn4.agent.evolution.objectives import by_objective, worth
from snn4.agent.run.beings import name_of
from snn4.agent.run.events import Event
from snn4.agent.show.evolution_page import candidate_figures, importance_section
from snn4.agent.show.generations import Generation, Generations, Objectives, changed, changes, label
from snn4.agent.show.page import heading, html_table, paragraph
from snn4.agent.show.tables import rich_table
from snn4.agent.show.text import amount

Summary = Mapping[str, Any]
Rows = list[list[str]]
"""Of a table; the first one names the columns."""


def tables(summary: Summary) -> RenderableType:
    """The front, the test, and the genes that the chosen candidate has."""
    name = f"{summary['config']['name']}, seed {summary['seed']}"
    parts: list[RenderableType] = [rich_table(front_rows(summary), f"{name}: front, on validation data")]
    if summary["test"]:
        parts.append(rich_table(score_rows(summary), "on test data"))
    if len(genes := gene_rows(summary)) > 1:
        parts.append(rich_table(genes, "genes that differ"))
    return Group(*parts, *(Text(line, style="dim") for line in _sentences(summary)))


def sections(events: Iterable[Event], summary: Summary | None) -> Iterator[str]:
    """Front, test, lineage and importance of genes, as far as the evolution has come."""
    generations = Generations(events)
    if not len(generations):
        yield heading("No candidate yet")
        return
    yield heading("Front, on validation data") + html_table(front_rows(summary or _so_far(generations), genes=True))
    yield from candidate_figures(generations, "Each candidate on validation data.")
    if summary is not None:
        yield from _result(summary)
    yield heading("Lineage") + html_table(lineage_rows(generations))
    yield from importance_section(generations)


def _result(summary: Summary) -> Iterator[str]:
    if summary["test"]:
        yield heading("Test") + html_table(score_rows(summary, tasks=True))
    if len(genes := gene_rows(summary)) > 1:
        yield heading("Chosen genes") + html_table(genes)
    yield from map(paragraph, _sentences(summary))


def front_rows(summary: Summary, genes: bool = False) -> Rows:
    """The front, best value first, and the hand-set config; with ``genes``, those that differ from the latter's."""
    names, hand_set = list(summary["objectives"]), summary["hand_set"]
    rows = []
    for one in sorted(summary["front"], key=lambda one: -worth(names[0], one["scores"][names[0]])):
        cells = [f"{one['number']}{_mark(one, summary)}", str(one["generation"]), *_cells(one["scores"], names)]
        rows.append([*cells, *[", ".join(changed(hand_set["genes"], one["genes"])) or "-"] * genes])
    if all(one["genes"] != hand_set["genes"] for one in summary["front"]):
        rows.append(["hand-set", "-", *_cells(hand_set["scores"], names), *["-"] * genes])
    return [["candidate", "generation", *map(label, names), *["genes"] * genes], *rows]


def _mark(one: Summary, summary: Summary) -> str:
    chosen = summary["chosen"]
    marks = ["hand-set"] if one["genes"] == summary["hand_set"]["genes"] else []
    marks += ["chosen"] if chosen is not None and one["number"] == chosen["number"] else []
    return f" ({', '.join(marks)})" if marks else ""


def score_rows(summary: Summary, tasks: bool = False) -> Rows:
    """Return and objectives of each that was tested, the mean over its tasks; with ``tasks``, also in each of them."""
    names = ("return", *(name for name in summary["objectives"] if name != "return"))
    rows = []
    for who, scores in summary["test"].items():
        name = "hand-set" if who == "hand_set" else name_of(who)
        each = {f"{name}: {task}": {task: score} for task, score in scores.items()} if tasks and len(scores) > 1 else {}
        for title, part in {name: scores, **each}.items():
            rows.append([title, *_cells(by_objective(part, names) if part else {}, names)])
    return [["", *map(label, names)], *rows]


def gene_rows(summary: Summary) -> Rows:
    """The genes of the chosen candidate that differ from the hand-set ones."""
    before, chosen = summary["hand_set"]["genes"], summary["chosen"]
    return [["gene", "hand-set", "chosen"], *map(list, changes(before, before if chosen is None else chosen["genes"]))]


def lineage_rows(generations: Generations) -> Rows:
    """A row for each generation: how many were tried, and the best of each objective among them."""
    names = _names(generations)
    header = ["generation", "candidates", "failed", *(f"best {label(name)}" for name in names), ""]
    return [header, *(_lineage(generation, names) for generation in generations)]


def _lineage(generation: Generation, names: Sequence[str]) -> list[str]:
    counts = (generation.number, len(generation.candidates), len(generation.stopped))
    best: dict[str, float] = {}
    for one in generation.tested:
        for name, value in one.scores.items():
            best[name] = max(best.get(name, value), value, key=lambda value: worth(name, value))
    return [*map(str, counts), *_cells(best, names), generation.event.reason]


def _so_far(generations: Generations) -> Summary:
    """What a summary would say of the front."""
    genes = next(iter(generations)).event.genes
    tested = {one.number: vars(one) for one in generations.candidates}
    scores = {number: one["scores"] for number, one in tested.items()}
    hand_set: Any = next((one["scores"] for one in tested.values() if one["genes"] == genes), {})
    return {
        "objectives": _names(generations), "front": [tested[number] for number in undominated(scores)], "chosen": None,
        "hand_set": {"genes": genes, "scores": hand_set},
    }  # fmt: skip


def _names(generations: Generations) -> list[str]:
    objectives = Objectives.of(generations)
    return [objectives.value, *objectives.costs] if generations.candidates else []


def _sentences(summary: Summary) -> Iterator[str]:
    counts = f"candidates: {summary['candidates']}, of which {summary['failed']} failed"
    yield f"generations: {summary['generations']}; {counts}; steps or images in all: {summary['steps']:,}"
    volume = summary["hypervolume"]
    if volume is None or not volume["evolution"]:
        return
    reference = " and ".join(f"{label(name)} {amount(value)}" for name, value in volume["reference"].items())
    beside = f", {amount(volume['random'][-1])} by random search" if volume.get("random") else ""
    yield f"Hypervolume of the front, from {reference}: {amount(volume['evolution'][-1])}{beside}."


def _cells(scores: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [amount(scores[name]) if name in scores else "-" for name in names]
