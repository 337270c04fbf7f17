"""The story of an evolution: generations of candidates live trials, and the chosen one is tested once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snn4.agent.config.file import dump
from snn4.agent.errors import CannotGoOn
from snn4.agent.evolution.database import written
from snn4.agent.evolution.dominance import undominated
from snn4.agent.evolution.lineage import Genes
from snn4.agent.evolution.objectives import by_objective
from snn4.agent.evolution.trials import Workers
from snn4.agent.evolution.workers import make_workers
from snn4.agent.run.beings import NETWORK, TWINS
from snn4.agent.run.events import Event, Evolved, Measure, Noted, Score, Task
from snn4.agent.run.work import File, Pause, State, Stop
from snn4.agent.search.config import EvolveConfig
from snn4.agent.search.course import Candidate, Course, Plane, key, share
from snn4.agent.search.trial import Job, KindOf, Tested, changed, stoppable, tested, validated
from snn4.policies.gene import Locus, with_genes

CHAMPION = "champion.yaml"
EVOLUTION, RANDOM = "evolution", "random"
HAND_SET, CHOSEN = "hand_set", "chosen"


@dataclass(frozen=True)
class Subject:
    """What evolves, and what its work says of itself."""

    kind_of: KindOf
    kind: str
    config: Any
    """With the hand-set genes."""
    being: str = NETWORK
    tasks: list[Task] = field(default_factory=list)
    unit: str = "steps"
    measure: Measure = "return"
    fingerprint: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Being:
    name: str


class Search:
    """Candidates live the subject's run with other genes; the preferred one is tested beside the hand-set genes.

    Args:
        config: a checked config.
        subject: that of the config.
    """

    def live(self, stop: Stop) -> Iterator[Event | Pause | File]:
        """The rest of the generations, then the test."""
        try:
            with stoppable(stop):
                for name, course in self.courses.items():
                    while not course.finished:
                        yield from self._generation(name, course, stop)
                        if stop():
                            return
                yield from self._test(stop)
        finally:
            self.workers.close()

    def _generation(self, name: str, course: Course, stop: Stop) -> Iterator[Event | Pause | File]:
        if not course.present:
            course.begin()
            share(self._candidates)
            yield from self._news(name, course)
            yield Pause()
        jobs = {candidate.number: self._job(candidate.genes) for candidate in _different(course.present)}
        for number, outcome in self.workers.run(validated, jobs, stop):
            if outcome is None:  # it was stopped in this process
                continue
            next(candidate for candidate in course.present if candidate.number == number).outcome = outcome
            share(self._candidates)
            yield from self._news(name, course)
            yield Pause()
        if stop():
            yield Pause()
            return
        course.end()
        yield from self._ended(name, course)
        yield Pause()

    def _news(self, name: str, course: Course) -> Iterator[Evolved]:
        if name == EVOLUTION:
            yield self._evolved(course, course.generation, True)

    def _ended(self, name: str, course: Course) -> Iterator[Event | File]:
        number = course.generation - 1
        if name == EVOLUTION:
            yield self._evolved(course, number, False)
            if self.chosen is not None:
                yield File(CHAMPION, self._write_champion)
        else:
            yield Noted(f"random search, generation {number}: {self.config.search.population} candidates")
        yield from written(course.lineage, "" if name == EVOLUTION else f"-{name}")

    def _evolved(self, course: Course, number: int, asleep: bool) -> Evolved:
        candidates = [candidate for candidate in course.candidates if candidate.generation == number]
        rows = [candidate.row(self.genes) for candidate in candidates]
        seconds = sum(candidate.outcome.seconds for candidate in candidates if candidate.outcome is not None)
        reason = "" if asleep else self._reason
        task = self.tasks[0]["environment"] if len(self.tasks) == 1 else self.subject.config.name
        return Evolved(
            self.subject.being, task, number, asleep, rows, self.genes, self.age, reason=reason, seconds=seconds
        )

    @property
    def _reason(self) -> str:
        best = self.chosen
        return "no candidate has a score" if best is None else f"best so far: candidate {best.number}"

    def _test(self, stop: Stop) -> Iterator[Event | Pause]:
        """Live to the end with the hand-set and with the chosen genes: the first look at test data."""
        if self.chosen is None:
            failures = "; ".join(dict.fromkeys(candidate.failure or "" for candidate in self._candidates))
            raise CannotGoOn(f"no candidate has a score: {failures}")
        waiting = {place: name for place, name in enumerate(self._configs) if name not in self.tests}
        jobs = {place: self._job_of(self._configs[name]) for place, name in waiting.items()}
        for place, result in self.workers.run(tested, jobs, stop):
            if result is None:
                continue
            self.tests[waiting[place]] = result
            yield Noted(f"test with the {waiting[place].replace('_', '-')} genes: {self._described(result)}")
            yield Pause()
        if stop():
            yield Pause()

    @property
    def _configs(self) -> dict[str, Any]:
        """What is tested: the chosen genes with the subject's twins, and the hand-set ones if they are others."""
        if self.chosen is None:
            return {}
        configs = {CHOSEN: self._with(self.chosen.genes)}
        if key(self.chosen.genes) != key(self.genes):
            configs[HAND_SET] = changed(self.subject.config, ann_twin=False, relu_twin=False)
        return configs

    def _described(self, result: Tested) -> str:
        if result.failure is not None:
            return result.failure
        means = by_objective(result.first, self.config.search.objectives)
        return ", ".join(f"{name.replace('_', ' ')} {value:.5g}" for name, value in means.items())

    def __init__(self, config: EvolveConfig, subject: Subject) -> None:
        self.config, self.subject = config, subject
        self.genes: Genes = {name: locus.value for name, locus in config.search.loci(subject.config).items()}
        """Those that were set by hand."""
        self.courses = {EVOLUTION: Course(config.search, config.seed, self.genes, self._loci)}
        if config.search.compare_random:
            random = dataclasses.replace(config.search, sampler="random")
            self.courses[RANDOM] = Course(random, config.seed, self.genes, self._loci)
        self.tests: dict[str, Tested] = {}
        self.unit, self.measure, self.notes = subject.unit, subject.measure, list(subject.notes)
        self.workers: Workers = make_workers(config.search, subject.config.threads or 1)

    def _loci(self, genes: Genes) -> Mapping[str, Locus]:
        return self.config.search.loci(self._with(genes))

    def _with(self, genes: Genes) -> Any:
        return with_genes(self.subject.config, genes)

    def _job(self, genes: Genes) -> Job:
        return self._job_of(self._with(genes))

    def _job_of(self, config: Any) -> Job:
        return Job(self.subject.kind_of, self.subject.kind, config, self.config.search.objectives)

    def _write_champion(self, path: Path) -> None:
        assert self.chosen is not None
        config = self._with(self.chosen.genes)
        partial = path.with_name(f".{path.name}.partial")
        try:
            partial.write_text(dump(changed(config, name=f"{config.name}-champion")), encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @property
    def _candidates(self) -> list[Candidate]:
        """Of all courses."""
        return [candidate for course in self.courses.values() for candidate in course.candidates]

    @property
    def chosen(self) -> Candidate | None:
        """The preferred one among all of the evolution; None if none has a score."""
        return self.courses[EVOLUTION].best

    @property
    def tasks(self) -> list[Task]:
        return self.subject.tasks

    @property
    def beings(self) -> Sequence[_Being]:
        return [_Being(self.subject.being)]

    @property
    def genome(self) -> Genes:
        return self.genes

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Of the subject's data."""
        return self.subject.fingerprint

    @property
    def age(self) -> int:
        """Steps, or images, of all trials and tests."""
        outcomes = [candidate.outcome for candidate in self._candidates if candidate.outcome is not None]
        return sum(outcome.steps for outcome in outcomes) + sum(test.steps for test in self.tests.values())

    @property
    def finished(self) -> bool:
        searched = all(course.finished for course in self.courses.values())
        return searched and self.chosen is not None and all(name in self.tests for name in self._configs)

    def state(self) -> State:
        """All candidates, in plain data: trials keep no weights."""
        courses = {name: course.state() for name, course in self.courses.items()}
        tests = {name: dataclasses.asdict(test) for name, test in self.tests.items()}
        return {"model": {}, "learner": {"courses": courses, "tests": tests}}

    def load_state(self, state: State) -> None:
        """Continue from ``state``."""
        saved = state["learner"]
        for name, course in self.courses.items():
            course.load_state(saved["courses"][name])
        self.tests = {name: Tested(**test) for name, test in saved["tests"].items()}

    def summary(self) -> dict[str, Any]:
        """Front, choice, test and hypervolumes, as far as the evolution has come."""
        evolution, chosen = self.courses[EVOLUTION], self.chosen
        candidates = {candidate.number: candidate for candidate in evolution.candidates}
        front = undominated({number: candidate.scores for number, candidate in candidates.items()})
        hand_set = next((one for one in evolution.candidates if key(one.genes) == key(self.genes)), None)
        return {
            "subject": {"name": self.subject.config.name, "kind": self.subject.kind},
            "objectives": list(self.config.search.objectives),
            "generations": evolution.generation,
            "candidates": len(candidates),
            "failed": sum(candidate.failure is not None for candidate in candidates.values()),
            "steps": self.age,
            HAND_SET: {"genes": self.genes, "scores": {} if hand_set is None else dict(hand_set.scores)},
            CHOSEN: None if chosen is None else _entry(chosen),
            "front": [_entry(candidates[number]) for number in front],
            "hypervolume": self._hypervolume(),
            "test": self._tests(),
        }

    def _hypervolume(self) -> dict[str, Any] | None:
        """Of the front after each generation; None without a value and a cost."""
        plane = Plane.of(self.config.search.objectives, [candidate.scores for candidate in self._candidates])
        if plane is None:
            return None
        value, cost = plane.reference
        volumes = {name: plane.volumes(course) for name, course in self.courses.items()}
        return {"reference": {plane.value: value, plane.cost: cost}, **volumes}

    def _tests(self) -> dict[str, dict[str, Score]]:
        """Test scores in each task: hand-set, chosen, and the twins of the chosen one; none before the tests."""
        if CHOSEN not in self.tests:
            return {}
        chosen = self.tests[CHOSEN]
        hand_set = self.tests.get(HAND_SET if HAND_SET in self._configs else CHOSEN)
        twins = {name: scores for name, scores in chosen.scores.items() if name in TWINS}
        return {HAND_SET: {} if hand_set is None else hand_set.first, CHOSEN: chosen.first, **twins}


def _different(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those without an outcome, the first of each with the same genes."""
    waiting = {key(candidate.genes): candidate for candidate in reversed(candidates) if candidate.outcome is None}
    return list(reversed(waiting.values()))


def _entry(candidate: Candidate) -> dict[str, Any]:
    """Plain data for the summary."""
    return {
        "number": candidate.number, "generation": candidate.generation, "genes": candidate.genes,
        "scores": dict(candidate.scores),
    }  # fmt: skip
