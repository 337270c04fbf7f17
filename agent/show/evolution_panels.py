"""The parts of the dashboard that show an evolution."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.panel import Panel
from rich.text import Text

from snn4.agent.show.generations import Candidate, Generation, Objectives, changed, label, spans_decades
from snn4.agent.show.scatter import Mark, Scatter
from snn4.agent.show.text import amount

MARKS = {
    "candidate": ("•", "cyan"), "half a trial": ("◦", "dim"), "stopped": ("×", "red"), "organism": ("◆", "yellow"),
    "adopted": ("★", "bold green"),
}  # fmt: skip
"""Character and style of each kind of point; those further down cover those further up."""


def population(generation: Generation) -> Panel:
    """The candidates of a generation that have scores: the first objective against the second one."""
    marked = {kind: [one for one in candidates if one.scores] for kind, candidates in _kinds(generation).items()}
    objectives = Objectives.of([generation])
    if objectives.cost is None or not any(marked.values()):
        return Panel(Text("no candidate is tested yet", style="dim"), title="candidates")
    return Panel(_scatter(marked, objectives.value, objectives.cost), title="candidates", subtitle=_legend(marked))


def _kinds(generation: Generation) -> dict[str, list[Candidate]]:
    """The candidates by the key of their mark."""
    parent, adopted = ([] if one is None else [one] for one in (generation.parent, generation.adopted))
    groups = generation.candidates, generation.halved, generation.stopped, parent, adopted
    return {kind: list(candidates) for kind, candidates in zip(MARKS, groups, strict=True)}


def _scatter(marked: dict[str, list[Candidate]], value: str, cost: str) -> Scatter:
    marks = [
        Mark(candidate.scores[cost], candidate.scores[value], *MARKS[kind])
        for kind, candidates in marked.items()
        for candidate in candidates
    ]
    return Scatter(marks, label(cost), label(value), spans_decades([mark.x for mark in marks]))


def _legend(marked: dict[str, list[Candidate]]) -> Text:
    """The marks that are there."""
    return Text("  ").join(Text(f"{MARKS[kind][0]} {kind}", style=MARKS[kind][1]) for kind in marked if marked[kind])


def state(generation: Generation) -> Panel:
    """Asleep or awake, how far the generation is, and how its best candidate differs from the organism."""
    states = ("asleep", "awake") if generation.has_organism else ("under way", "ended")
    title = f"generation {generation.number}: {states[not generation.event.asleep]}"
    return Panel(Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in _lines(generation))), title=title)


def _lines(generation: Generation) -> Iterator[str]:
    event, leader = generation.event, generation.leader
    if event.asleep:
        stopped = f", {len(generation.stopped)} stopped" if generation.stopped else ""
        yield f"{len(generation.tested)} of {len(generation.candidates)} tested{stopped}"
    elif not generation.has_organism:
        yield event.reason
    else:
        yield "no further sleep in this task" if event.next_step is None else f"next sleep after {event.next_step:,}"
    if leader is not None:
        yield f"{'best so far' if event.asleep else 'now'}: candidate {leader.number}"
        yield from _scores(generation, leader)
        yield from changed(generation.genes, leader.genes) or ["the same genes"]
    elif not event.asleep and generation.has_organism:
        yield f"unchanged: {event.reason}"


def _scores(generation: Generation, leader: Candidate) -> Iterator[str]:
    """Each objective, of the organism and of the leader."""
    objectives = Objectives.of([generation])
    before = generation.parent.scores if generation.parent is not None else {}
    for name in (objectives.value, *objectives.costs):
        values = [scores[name] for scores in (before, leader.scores) if name in scores]
        yield f"{label(name)} {' → '.join(map(amount, values))}"
