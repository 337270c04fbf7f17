"""Sleep: in the midst of its life, the organism tries variations of itself, and wakes up better or unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from snn4.agent.evolution.config import EvolutionConfig
from snn4.agent.evolution.database import written
from snn4.agent.evolution.generation import Generation, Part, Result
from snn4.agent.evolution.lineage import Genes, Lineage
from snn4.agent.evolution.trials import Workers, WorkersLost
from snn4.agent.evolution.workers import make_workers
from snn4.agent.life.being import Being
from snn4.agent.life.config import LifeConfig, LifeTask
from snn4.agent.life.trial import Job, lived
from snn4.agent.run.events import Event, Evolved, Noted
from snn4.agent.run.work import File, Pause, Stop
from snn4.policies.gene import Locus, with_genes


class Sleep:
    """The generations in the life of ``being``.

    Args:
        config: of the life, with the genes that it began with.
        evolution: its ``evolution``.
    """

    def __init__(self, config: LifeConfig, evolution: EvolutionConfig) -> None:
        self.config, self.evolution = config, evolution
        self.lineage = Lineage(evolution, config.seed)
        self.workers: Workers = make_workers(evolution, config.threads or 1)
        self.generation: Generation | None = None
        """The present one, while the organism sleeps."""
        self.count = 0
        """Generations so far."""
        self.slept_at: tuple[int, int] = (0, 0)
        """Task and step at which the last sleep ended."""

    def next_step(self, being: Being, task: LifeTask) -> int | None:
        """Step of ``task`` at which ``being`` sleeps next; None if the steps that remain do not suffice for it."""
        every = self.evolution.every
        last = self.slept_at[1] if self.slept_at[0] == being.world.position else 0
        latest = task.steps - self.evolution.cost
        if every is None:
            return latest if latest > 0 and last == 0 else None
        return last + every if last + every <= latest else None

    def live(self, being: Being, task: LifeTask, stop: Stop) -> Iterator[Event | Pause | File]:
        """One sleep, or the rest of one."""
        if self.generation is None:
            self.generation = Generation(self.count, self.evolution)
        generation, habitat = self.generation, Present(self.config, being, self.count)
        try:
            for news in generation.live(habitat, self.lineage, self.workers, stop):
                if news is not None:
                    yield news
                elif not generation.finished:
                    yield self._news(being, task)
        except (WorkersLost, OSError) as error:
            yield Noted(f"woken up without a result: {' '.join(str(error).split())}")
            generation.abandon(self.lineage)
        if stop():
            return
        yield from self._wake_up(being, task)
        yield from written(self.lineage)

    def _wake_up(self, being: Being, task: LifeTask) -> Iterator[Event]:
        generation = self.generation
        assert generation is not None
        if generation.adopted is not None:
            candidate = generation.candidates[generation.adopted]
            being.become(task, candidate.genes, candidate.results[-1].state, candidate.number)
        being.pass_over(task, generation.steps, generation.seconds)
        self.slept_at = being.world.position, being.step
        self.count += 1
        yield self._news(being, task)
        self.generation = None

    def _news(self, being: Being, task: LifeTask) -> Evolved:
        generation = self.generation
        assert generation is not None
        genes = {name: locus.value for name, locus in evolving(being.config).items()}
        return Evolved(
            being.name, task.label, generation.number, not generation.finished, generation.rows(), genes,
            being.organism.age, generation.adopted, generation.reason, self.next_step(being, task), generation.seconds,
        )  # fmt: skip

    def summary(self, being: Being) -> dict[str, Any]:
        """The genes of ``being`` in the end, and what evolution has cost."""
        genes = {name: locus.value for name, locus in evolving(being.config).items()}
        born = {name: locus.value for name, locus in evolving(self.config).items()}
        return {
            "generations": self.count, "candidates": len(self.lineage.study.trials), "adopted": being.organism.lineage,
            "genes": genes, "genes_at_birth": born, "tested": self.lineage.tested(),
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Plain data and tensors."""
        generation = None if self.generation is None else self.generation.state()
        return {
            "lineage": self.lineage.state(), "generation": generation, "count": self.count,
            "slept_at": list(self.slept_at),
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``."""
        self.lineage.load_state(state["lineage"])
        self.count, self.slept_at = state["count"], tuple(state["slept_at"])
        saved = state["generation"]
        self.generation = None if saved is None else Generation.load(saved, self.evolution)


class Present:
    """A life in its present task, as the habitat of candidates."""

    def __init__(self, config: LifeConfig, being: Being, generation: int) -> None:
        self.config, self.being, self.generation = config, being, generation
        self.genes: Genes = {name: locus.value for name, locus in evolving(being.config).items()}

    @property
    def trial(self) -> Callable[[Job], Result]:
        """See `Habitat.trial`."""
        return lived

    def loci(self, genes: Genes) -> dict[str, Locus]:
        """See `Habitat.loci`."""
        return evolving(self._with(genes))

    def job(self, genes: Genes, before: Sequence[Result], part: Part) -> Job:
        """See `Habitat.job`."""
        being, evolution = self.being, self.config.evolution
        assert evolution is not None
        config = self._with(genes)
        changed = config.policy != being.config.policy
        # Environments are stepped together, so a part ends a few steps late: lessons for a whole trial reach beyond it.
        lessons = evolution.lessons * evolution.trial if evolution.lessons < 1 else 2 * evolution.trial
        return Job(
            config, being.config, being.organism.state(), being.world.position, being.step,
            before[-1].state if before else None, part,
            being.step + round(lessons) * changed, self.generation,
        )  # fmt: skip

    def _with(self, genes: Genes) -> LifeConfig:
        return with_genes(self.being.config, genes)  # type: ignore[no-any-return]


def evolving(config: LifeConfig) -> dict[str, Locus]:
    """The genes of a life: those of its policy and learner; memories of finished tasks keep the form of the trunk."""
    assert config.evolution is not None
    return config.evolution.loci(config, form=config.protection.kind in ("none", "replay"))
