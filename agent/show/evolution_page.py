"""The result of an evolution: tables for terminals, and the sections of a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from snn4.agent.run.events import Event
from snn4.agent.show.evolution_charts import draw_candidates, draw_importance
from snn4.agent.show.generations import Candidate, Generation, Generations, Objectives, changed, changes, label
from snn4.agent.show.importance import Importance, importance
from snn4.agent.show.page import figure, heading, html_table, paragraph
from snn4.agent.show.tables import rich_table
from snn4.agent.show.text import amount, several

Summary = Mapping[str, Any]


def tables(evolution: Summary) -> Group:
    """The genes that have changed since birth, and how much was tried.

    Args:
        evolution: of ``summary.json``.
    """
    rows, adopted = gene_rows(evolution), len(evolution["adopted"])
    tried = f"{several(evolution['generations'], 'generation')}, {several(evolution['candidates'], 'candidate')}"
    same = "" if len(rows) > 1 else "; all genes are as at birth"
    line = Text(f"evolution: {tried}, {adopted} adopted{same}", style="dim")
    table: list[RenderableType] = [rich_table(rows, "genes that evolution has changed")] if len(rows) > 1 else []
    return Group(*table, line)


def gene_rows(evolution: Summary) -> list[list[str]]:
    """The genes that differ from those at birth; the first row names the columns."""
    return [["gene", "at birth", "now"], *map(list, changes(evolution["genes_at_birth"], evolution["genes"]))]


def sections(events: Iterable[Event]) -> Iterator[str]:
    """Candidates and front, lineage, and importance of genes; nothing without events of an evolution."""
    generations = Generations(events)
    if not len(generations):
        return
    objectives = Objectives.of(generations)
    yield heading("Evolution") + paragraph(_counts(generations))
    yield from candidate_figures(generations, "The last test of each; later generations have inherited more learning.")
    yield heading("Lineage") + html_table(lineage_rows(generations, objectives))
    yield from importance_section(generations)


def candidate_figures(generations: Generations, caption: str) -> Iterator[str]:
    """The value of all candidates against each of their costs."""
    objectives = Objectives.of(generations)
    if generations.candidates:
        for cost in objectives.costs:
            picture = draw_candidates(generations, objectives.value, cost)
            yield figure(picture, f"{caption} Line: the front of all candidates, the best value at each cost.")


def importance_section(generations: Generations) -> Iterator[str]:
    """How much each gene matters; nothing if too few candidates were tested."""
    objectives = Objectives.of(generations)
    found = importance(generations, [objectives.value, *objectives.costs])
    if found is not None and found.correlations:
        yield heading("Importance of genes") + figure(draw_importance(found), _importance(found))


def _importance(found: Importance) -> str:
    return (
        "Right: more of the gene goes with more of the objective. Spearman's correlation of ranks within generations, "
        f"over {several(found.candidates, 'candidate')}. Between the dotted lines, it may be chance. Genes that matter "
        "only together do not show."
    )


def _counts(generations: Generations) -> str:
    candidates = sum(len(generation.candidates) for generation in generations)
    stopped = sum(len(generation.stopped) for generation in generations)
    tried = f"{several(len(generations), 'generation')}, {several(candidates, 'candidate')}"
    return f"{tried}, {len(generations.adopted)} adopted, {stopped} stopped."


def lineage_rows(generations: Generations, objectives: Objectives) -> list[list[str]]:
    """A row for each generation: what was adopted, what that has changed, and why; the first row names the columns."""
    names = [objectives.value, *objectives.costs]
    header = ["generation", "task", "age", "adopted", "genes", *map(label, names), "reason"]
    return [header, *(_lineage(generation, names) for generation in generations)]


def _lineage(generation: Generation, names: list[str]) -> list[str]:
    event, adopted, parent = generation.event, generation.adopted, generation.parent
    scores = [_scores(parent, adopted, name) for name in names]
    reason = event.reason or ("asleep" if event.asleep else "-")
    who = "-" if adopted is None else f"candidate {adopted.number}"
    genes = ", ".join(changed(generation.genes, adopted.genes)) if adopted is not None else ""
    return [str(generation.number), event.task, f"{event.age:,}", who, genes or "-", *scores, reason]


def _scores(parent: Candidate | None, adopted: Candidate | None, name: str) -> str:
    """Of the parent, and of the candidate that has taken its place."""
    values = [one.scores[name] for one in (parent, adopted) if one is not None and one.scores]
    return " → ".join(map(amount, values)) or "-"
