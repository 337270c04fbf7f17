"""An evolution in lines of text."""

from __future__ import annotations

from snn4.agent.run.beings import name_of
from snn4.agent.run.events import Evolved
from snn4.agent.show.generations import Generation, Generations, Objectives, gene, label, short_names
from snn4.agent.show.text import amount, several


def evolution(event: Evolved) -> str:
    """One line on a generation: its beginning, the best of its candidates so far, or how it ended."""
    generation = Generations([event]).latest
    assert generation is not None
    head = f"{name_of(event.being)} generation {event.generation}"
    if not generation.has_organism and not event.asleep:
        return f"{head} ends, {event.reason}"
    if not event.asleep:
        sleeps = "" if event.next_step is None else f"; sleeps again after step {event.next_step:,}"
        return f"{head}: wakes up {_waking(generation)}{sleeps}"
    leader = generation.leader
    if leader is None and not generation.stopped:
        begins = f"falls asleep in {event.task}" if generation.has_organism else f"begins in {event.task}"
        return f"{head}: {begins}: {several(len(generation.candidates), 'candidate')}"
    stopped = f", {len(generation.stopped)} stopped" if generation.stopped else ""
    return f"{head}: {len(generation.tested)} of {len(generation.candidates)} tested{stopped}{_best(generation)}"


def _waking(generation: Generation) -> str:
    event, adopted = generation.event, generation.adopted
    if event.adopted is None or adopted is None:
        return f"unchanged: {event.reason}"
    names = short_names(adopted.genes)
    (row,) = (row for row in event.candidates if row["number"] == event.adopted)
    genes = ", ".join(f"{names[name]} {gene(value)}" for name, value in row["genes"].items())
    return f"as candidate {event.adopted}, {event.reason}; {genes or 'the same genes'}"


def _best(generation: Generation) -> str:
    leader = generation.leader
    if leader is None:
        return ""
    objectives = Objectives.of([generation])
    costs = ", ".join(f"{amount(leader.scores[name])} {label(name)}" for name in objectives.costs)
    value = f"{label(objectives.value)} {amount(leader.scores[objectives.value])}"
    return f"; best: candidate {leader.number} after {leader.steps:,} steps, {value}{f' at {costs}' if costs else ''}"
