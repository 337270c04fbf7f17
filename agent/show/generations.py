"""The generations of an evolution, collected from its events alone: candidates, the organism, and what was adopted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snn4.agent.evolution.objectives import maximised, worth
from snn4.agent.run.events import PARENT, Event, Evolved

Genes = Mapping[str, Any]
DECADE = 10.0
"""Costs of which the highest is more than this many times the lowest are drawn on a log scale."""
_ROOTS = ("policy.", "learner.hyperparameters.", "learner.")


@dataclass(frozen=True)
class Candidate:
    """A genome and what was measured of it."""

    generation: int
    number: int
    genes: Genes
    scores: Mapping[str, float]
    """By objective; none before the first test, and none of one that was stopped without a test."""
    steps: int
    """Environment steps, or images, learned."""
    stopped: str | None
    """Why it was stopped."""


@dataclass(frozen=True)
class Generation:
    """A generation as its newest event tells of it."""

    event: Evolved
    genes: Genes
    """Of the organism, before a candidate was adopted."""
    parent: Candidate | None
    """The organism; None in an evolution without one."""
    candidates: Sequence[Candidate]

    @property
    def number(self) -> int:
        return self.event.generation

    @property
    def has_organism(self) -> bool:
        """Whether it is a sleep of an organism; otherwise, candidates live runs of their own."""
        return self.parent is not None or self.event.adopted is not None or not self.candidates

    @property
    def tested(self) -> list[Candidate]:
        """The candidates with scores."""
        return [candidate for candidate in self.candidates if candidate.scores]

    @property
    def stopped(self) -> list[Candidate]:
        return [candidate for candidate in self.candidates if candidate.stopped is not None]

    @property
    def halved(self) -> list[Candidate]:
        """The tested candidates that were not among those that learned on."""
        most = max((candidate.steps for candidate in self.candidates), default=0)
        return [candidate for candidate in self.tested if candidate.steps < 2 / 3 * most]  # rollouts round steps

    @property
    def adopted(self) -> Candidate | None:
        """The candidate that the organism has become."""
        return next((one for one in self.candidates if one.number == self.event.adopted), None)

    @property
    def leader(self) -> Candidate | None:
        """The adopted candidate; before there is one, the best of those that learned most."""
        if self.adopted is not None or not self.event.asleep:
            return self.adopted
        running = [one for one in self.tested if one not in self.halved and one.stopped is None]
        value = Objectives.of([self]).value
        return max(running, key=lambda one: worth(value, one.scores[value]), default=None)


@dataclass(frozen=True)
class Objectives:
    """The names of what was measured."""

    value: str
    """The first one to be maximised."""
    costs: Sequence[str]
    """All others."""

    @classmethod
    def of(cls, generations: Iterable[Generation]) -> Objectives:
        """Those of all candidates."""
        names = list(dict.fromkeys(name for each in generations for one in each.tested for name in one.scores))
        value = next(filter(maximised, names), names[0] if names else "return")
        return cls(value, [name for name in names if name != value])

    @property
    def cost(self) -> str | None:
        """The first cost."""
        return self.costs[0] if self.costs else None


class Generations:
    """All generations so far, in order. A resumed run may tell of a generation again."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._all: dict[int, Generation] = {}
        for event in events:
            if isinstance(event, Evolved):
                self.take(event)

    def take(self, event: Evolved) -> None:
        """Remember ``event``, and forget what an earlier telling said of later generations."""
        genes = self._genes_before(event)
        self._all = {number: each for number, each in self._all.items() if number < event.generation}
        rows = {row["number"]: _candidate(event.generation, row, genes) for row in event.candidates}
        parent = rows.pop(PARENT, None)
        self._all[event.generation] = Generation(event, genes, parent, list(rows.values()))

    def _genes_before(self, event: Evolved) -> Genes:
        """The organism's genes at the beginning of the generation of ``event``."""
        if event.asleep or event.adopted is None:
            return event.genes
        if event.generation in self._all:
            return self._all[event.generation].genes
        return self.latest.event.genes if self.latest is not None else event.genes

    @property
    def latest(self) -> Generation | None:
        return self._all[max(self._all)] if self._all else None

    @property
    def candidates(self) -> list[Candidate]:
        """Those of all generations that have scores."""
        return [candidate for generation in self for candidate in generation.tested]

    @property
    def adopted(self) -> list[Candidate]:
        return [generation.adopted for generation in self if generation.adopted is not None]

    def __iter__(self) -> Iterator[Generation]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)


def _candidate(generation: int, row: Mapping[str, Any], parent: Genes) -> Candidate:
    genes = {**parent, **row["genes"]}
    return Candidate(generation, row["number"], genes, row["scores"], row["steps"], row["stopped"])


def short_names(names: Iterable[str]) -> dict[str, str]:
    """The names of genes without the part of the config that they stand in, where they stay different.

    >>> short_names(["policy.T", "learner.hyperparameters.gamma", "policy.gamma"])
    {'policy.T': 'T', 'learner.hyperparameters.gamma': 'learner.hyperparameters.gamma', 'policy.gamma': 'policy.gamma'}
    """
    short = {name: _without_root(name) for name in names}
    several = {name for name in short.values() if list(short.values()).count(name) > 1}
    return {name: name if bare in several else bare for name, bare in short.items()}


def _without_root(name: str) -> str:
    return next((name.removeprefix(root) for root in _ROOTS if name.startswith(root)), name)


def changes(before: Genes, after: Genes) -> list[tuple[str, str, str]]:
    """Name, value before and value after of each gene that differs; "-" for one that is not there."""
    short = short_names(dict.fromkeys([*before, *after]))
    return [
        (bare, gene(before.get(name)), gene(after.get(name)))
        for name, bare in short.items()
        if before.get(name) != after.get(name)
    ]


def changed(before: Genes, after: Genes) -> list[str]:
    """The genes that differ, as texts: ``T 4 → 2``."""
    return [f"{name} {old} → {new}" for name, old, new in changes(before, after)]


def gene(value: Any) -> str:
    """The value of a gene: a number or a word; "-" for None."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def label(objective: str) -> str:
    """The name of an objective in a text."""
    return objective.replace("_", " ")


def spans_decades(costs: Sequence[float]) -> bool:
    """Whether ``costs`` are clearer on a log scale."""
    return bool(costs) and min(costs) > 0 and max(costs) > DECADE * min(costs)
