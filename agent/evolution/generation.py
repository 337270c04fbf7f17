"""A generation: candidates are proposed, live trials, are tested, and one of them may be adopted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from snn4.agent.evolution.adoption import adoptable, best, hopeful
from snn4.agent.evolution.config import EvolutionConfig
from snn4.agent.evolution.lineage import Genes, Lineage
from snn4.agent.evolution.objectives import Fitness, as_fitness, means, worth
from snn4.agent.evolution.trials import Workers
from snn4.agent.run.events import PARENT
from snn4.agent.run.work import Pause, Stop
from snn4.policies.gene import Locus

Job = TypeVar("Job")


@dataclass(frozen=True)
class Result:
    """What a candidate has reached in a part of its trial."""

    fitness: Fitness
    steps: int
    """Environment steps learned in this part."""
    seconds: float
    state: Any
    """Plain data and tensors with which it lives on."""
    failure: str | None = None
    """Why it is stopped: its weights are not finite, or no neuron spikes."""


@dataclass(frozen=True)
class Part:
    """A part of a trial: so many steps, then a test on so many episodes; ``fresh`` ones only confirm a choice."""

    steps: int
    episodes: int
    fresh: bool = False

    @property
    def tested(self) -> Part:
        """The same test without learning."""
        return dataclasses.replace(self, steps=0)


class Habitat(Protocol[Job]):
    """Where candidates live: a life, in its present task."""

    genes: Genes
    """The parent's."""

    @property
    def trial(self) -> Callable[[Job], Result]:
        """Runs a job; a function of a module, since other processes run it."""

    def loci(self, genes: Genes) -> Mapping[str, Locus]:
        """What evolves in a being with these genes; ValueError if they do not fit together."""

    def job(self, genes: Genes, before: Sequence[Result], part: Part) -> Job:
        """The job of a being with ``genes``, after the parts ``before``."""


@dataclass
class Candidate:
    """A variation of the organism."""

    number: int
    """In the lineage."""
    genes: Genes
    results: list[Result] = field(default_factory=list)
    """Of the parts of its trial."""

    @property
    def failure(self) -> str | None:
        return self.results[-1].failure if self.results else None


@dataclass
class Generation:
    """The state of a generation, with which a life goes on after an interruption.

    Args:
        number: of the generation, from 0.
        config: how candidates live and are compared.
    """

    number: int
    config: EvolutionConfig
    candidates: dict[int, Candidate] = field(default_factory=dict)
    """By number, and the organism itself as `PARENT`."""
    stage: int = 0
    """Finished parts; after the parts of the trials comes the test of the chosen candidate on fresh episodes."""
    chosen: int | None = None
    adopted: int | None = None
    reason: str = ""
    """Why the chosen one was adopted or not."""
    finished: bool = False

    def live(self, habitat: Habitat[Any], lineage: Lineage, workers: Workers, stop: Stop) -> Iterator[Pause | None]:
        """The rest of the generation: a pause after each result, and None where there is news to tell."""
        if not self.candidates:
            self._begin(habitat, lineage)
            yield None
        while not self.finished:
            yield from self._try(habitat, workers, stop)
            if stop():
                return
            self.stage += 1
            if self._concluded():
                self._tell(lineage)
            yield None

    def _begin(self, habitat: Habitat[Any], lineage: Lineage) -> None:
        proposed = lineage.propose(self.config.population, habitat.genes, habitat.loci, self.number)
        self.candidates = {number: Candidate(number, genes) for number, genes in proposed.items()}
        self.candidates[PARENT] = Candidate(PARENT, habitat.genes)

    def _try(self, habitat: Habitat[Any], workers: Workers, stop: Stop) -> Iterator[Pause]:
        """Run the jobs of the present part that have no result yet."""
        part = self.parts[self.stage]
        waiting = [candidate for candidate in self._living() if len(candidate.results) == self.stage]
        jobs = {
            place: habitat.job(candidate.genes, candidate.results, part if candidate.number != PARENT else part.tested)
            for place, candidate in enumerate(waiting)
        }
        for place, result in workers.run(habitat.trial, jobs, stop):
            waiting[place].results.append(result)
            yield Pause()

    @property
    def parts(self) -> list[Part]:
        """The parts of the trials, and the last test."""
        config = self.config
        last = Part(0, config.episodes, fresh=True)
        if not config.halving or config.trial < 2:
            return [Part(config.trial, config.episodes), last]
        first = config.trial // 2
        return [Part(first, max(2, config.episodes // 2)), Part(config.trial - first, config.episodes), last]

    def _living(self) -> list[Candidate]:
        """Who takes part in the present part, its parent first."""
        parent = self.candidates[PARENT]
        if self.stage == 0:
            return [parent, *(candidate for candidate in self.candidates.values() if candidate is not parent)]
        if self.stage == len(self.parts) - 1:
            return [parent] if self.chosen is None else [parent, self.candidates[self.chosen]]
        half = -(-self.config.population // 2)
        before = parent.results[self.stage - 1].fitness
        living = hopeful(self._able(self.stage), before, self.config.preference, half)
        return [parent, *(self.candidates[number] for number in living)]

    def _able(self, results: int) -> dict[int, Fitness]:
        """The latest fitness of the candidates that have ``results`` results and may live on."""
        return {
            number: candidate.results[results - 1].fitness
            for number, candidate in self.candidates.items()
            if number != PARENT and len(candidate.results) >= results and candidate.results[results - 1].failure is None
        }

    def _concluded(self) -> bool:
        """Choose after the trials, and adopt after the last test; whether the generation is finished."""
        preference, last = self.config.preference, len(self.parts) - 1
        parent = self.candidates[PARENT].results[self.stage - 1].fitness
        if self.stage == last:
            self.chosen = best(self._able(last), parent, preference)
            self.finished = self.chosen is None
            self.reason = "no candidate is better beyond the noise" if self.chosen is None else ""
        elif self.stage > last and self.chosen is not None:
            fresh = self.candidates[self.chosen].results[-1].fitness
            why = adoptable(fresh, parent, preference)
            self.adopted, self.finished = None if why is None else self.chosen, True
            self.reason = why or f"candidate {self.chosen} was not better on fresh episodes"
        return self.finished

    def abandon(self, lineage: Lineage) -> None:
        """End it without a choice, because its trials cannot be run."""
        self.chosen, self.adopted, self.finished, self.reason = None, None, True, "its trials could not be run"
        if self.candidates:
            self._tell(lineage)

    def _tell(self, lineage: Lineage) -> None:
        """Report all candidates to the lineage."""
        for number, candidate in self.candidates.items():
            if number != PARENT:
                tested = bool(candidate.results) and candidate.failure is None
                lineage.tell(
                    number, means(candidate.results[-1].fitness) if tested else None,
                    violation=self._violation(candidate) if tested else 0.0,
                    steps=sum(result.steps for result in candidate.results), stopped=candidate.failure,
                    adopted=number == self.adopted, reason=self.reason if number == self.chosen else "",
                )  # fmt: skip

    def _violation(self, candidate: Candidate) -> float:
        """How far the candidate's value is below the margin of the preference."""
        preference, parent = self.config.preference, self.candidates[PARENT].results[len(candidate.results) - 1].fitness
        before, after = means(parent)[preference.value], means(candidate.results[-1].fitness)[preference.value]
        return worth(preference.value, before) - preference.within * abs(before) - worth(preference.value, after)

    @property
    def steps(self) -> int:
        """Environment steps of all trials so far."""
        return sum(result.steps for candidate in self.candidates.values() for result in candidate.results)

    @property
    def seconds(self) -> float:
        """Of learning and tests, of all workers together."""
        return sum(result.seconds for candidate in self.candidates.values() for result in candidate.results)

    def rows(self) -> list[dict[str, Any]]:
        """Plain data on each candidate, for events: what differs from its parent, and what it has reached."""
        parent = self.candidates[PARENT].genes
        return [
            {
                "number": number,
                "genes": {name: value for name, value in candidate.genes.items() if parent.get(name) != value},
                "scores": means(candidate.results[-1].fitness) if candidate.results and not candidate.failure else {},
                "steps": sum(result.steps for result in candidate.results),
                "stopped": candidate.failure,
            }
            for number, candidate in self.candidates.items()
        ]

    def state(self) -> dict[str, Any]:
        """Plain data and tensors."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        candidates = [
            {"number": c.number, "genes": c.genes, "results": [vars(result).copy() for result in c.results]}
            for c in self.candidates.values()
        ]
        return {**plain, "candidates": candidates}

    @classmethod
    def load(cls, state: Mapping[str, Any], config: EvolutionConfig) -> Generation:
        """The generation that `state` describes."""
        generation = cls(config=config, **{name: state[name] for name in _PLAIN})
        for entry in state["candidates"]:
            results = [Result(**{**result, "fitness": as_fitness(result["fitness"])}) for result in entry["results"]]
            generation.candidates[entry["number"]] = Candidate(entry["number"], entry["genes"], results)
        return generation


_PLAIN = ("number", "stage", "chosen", "adopted", "reason", "finished")
