"""The course of a search: its candidates, generation by generation, and what they have reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snn4.agent.errors import CannotGoOn
from snn4.agent.evolution.adoption import ranked
from snn4.agent.evolution.dominance import Scores
from snn4.agent.evolution.front import Point, hypervolume
from snn4.agent.evolution.lineage import Genes, Lineage, Loci
from snn4.agent.evolution.objectives import maximised
from snn4.agent.search.config import GenerationsConfig
from snn4.agent.search.trial import Outcome


@dataclass
class Candidate:
    """Genes, and what a life with them has reached."""

    number: int
    """In the lineage."""
    generation: int
    genes: Genes
    outcome: Outcome | None = None

    @property
    def scores(self) -> Scores:
        """None before the trial, and after one that failed."""
        return {} if self.outcome is None else self.outcome.scores

    @property
    def failure(self) -> str | None:
        return None if self.outcome is None else self.outcome.failure

    def row(self, genes: Genes) -> dict[str, Any]:
        """Plain data for events and the summary; of its genes those that differ from ``genes``."""
        return {
            "number": self.number,
            "genes": {name: value for name, value in self.genes.items() if genes.get(name) != value},
            "scores": dict(self.scores),
            "steps": 0 if self.outcome is None else self.outcome.steps,
            "stopped": self.failure,
        }


class Course:
    """The candidates that one sampler proposes.

    Args:
        config: of the search.
        seed: of the proposals.
        genes: those that were set by hand, which the first candidate has.
        loci: what evolves.
    """

    def __init__(self, config: GenerationsConfig, seed: int, genes: Genes, loci: Loci) -> None:
        self.config, self.genes, self.loci = config, genes, loci
        self.lineage = Lineage(config, seed)
        self.candidates: list[Candidate] = []
        self.generation = 0
        """Number of the present generation, which is also the number of finished ones."""

    @property
    def present(self) -> list[Candidate]:
        """The candidates of the present generation; none before it begins."""
        return [candidate for candidate in self.candidates if candidate.generation == self.generation]

    @property
    def finished(self) -> bool:
        return self.generation == self.config.generations

    @property
    def best(self) -> Candidate | None:
        """The preferred candidate of all generations; None if none has a score."""
        candidates = {candidate.number: candidate for candidate in self.candidates if candidate.scores}
        order = ranked({number: one.scores for number, one in candidates.items()}, self.config.preference)
        return candidates[order[0]] if order else None

    def begin(self) -> None:
        """Propose the candidates of a generation: the hand-set genes first, and mutants of the best so far."""
        parent, is_first = self.genes if self.best is None else self.best.genes, not self.candidates
        try:
            proposed = self.lineage.propose(self.config.population, parent, self.loci, self.generation, again=is_first)
        except ValueError as error:
            raise CannotGoOn(str(error)) from error
        self.candidates += [Candidate(number, self.generation, genes) for number, genes in proposed.items()]

    def end(self) -> None:
        """Tell the lineage what the candidates have reached: in their order, whichever has finished first."""
        for candidate in self.present:
            row = candidate.row({})
            self.lineage.tell(candidate.number, row["scores"] or None, steps=row["steps"], stopped=row["stopped"])
        self.generation += 1

    def state(self) -> dict[str, Any]:
        """Plain data."""
        candidates = [dataclasses.asdict(candidate) for candidate in self.candidates]
        return {"lineage": self.lineage.state(), "candidates": candidates, "generation": self.generation}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``."""
        self.lineage.load_state(state["lineage"])
        self.generation = state["generation"]
        self.candidates = [_candidate(entry) for entry in state["candidates"]]


def _candidate(entry: Mapping[str, Any]) -> Candidate:
    outcome = entry["outcome"]
    return Candidate(**{**entry, "outcome": None if outcome is None else Outcome(**outcome)})


def share(candidates: Iterable[Candidate]) -> None:
    """Give candidates without an outcome that of others with the same genes: a trial would come to the same."""
    known: dict[Any, Outcome] = {}
    candidates = list(candidates)
    for candidate in candidates:
        if candidate.outcome is not None:
            known.setdefault(key(candidate.genes), candidate.outcome)
    for candidate in candidates:
        if candidate.outcome is None and (outcome := known.get(key(candidate.genes))) is not None:
            candidate.outcome = dataclasses.replace(outcome, steps=0, seconds=0.0)


def key(genes: Genes) -> tuple[tuple[str, Any], ...]:
    """Equal for equal genes."""
    return tuple(sorted(genes.items()))


@dataclass(frozen=True)
class Plane:
    """The objectives that span hypervolumes: the value that is maximised, and the first cost."""

    value: str
    cost: str
    reference: Point
    """Value and cost that count nothing: 0, or the least value if it is below 0, and the highest cost of all."""

    @classmethod
    def of(cls, objectives: Sequence[str], scores: Iterable[Scores]) -> Plane | None:
        """The plane in which all ``scores`` lie; None without a value and a cost, or without scores."""
        value = next(filter(maximised, objectives), None)
        cost = next((name for name in objectives if not maximised(name)), None)
        measured = [own for own in scores if own]
        if value is None or cost is None or not measured:
            return None
        least = min(0.0, *(own[value] for own in measured))
        return cls(value, cost, (least, max(own[cost] for own in measured)))

    def volumes(self, course: Course) -> list[float]:
        """The hypervolume of the front of all candidates so far, after each finished generation."""
        return [
            hypervolume(
                [
                    (candidate.scores[self.value], candidate.scores[self.cost])
                    for candidate in course.candidates
                    if candidate.generation <= generation and candidate.scores
                ],
                self.reference,
            )
            for generation in range(course.generation)
        ]
