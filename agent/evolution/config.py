"""The configuration of evolution: how often, how many, how long, and what is wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from snn4.agent.config.fields import check_least
from snn4.agent.evolution.objectives import Preference, check_objectives
from snn4.agent.evolution.workers import WorkersConfig
from snn4.policies.gene import Choice, Locus, loci


@dataclass(frozen=True)
class SearchConfig(WorkersConfig):
    """How genomes are proposed and compared."""

    population: int = 8
    """Candidates in a generation; the first one has the parent's own genes."""
    objectives: tuple[str, ...] = ("return", "synaptic_operations")
    """Some of return (maximised), synaptic_operations, spikes, energy and parameters (of one decision, minimised)."""
    prefer: str = "synaptic_operations within 1 % of return"
    """Which candidate is best: an objective, or the least of one among those close to the best of another."""
    genes: tuple[str, ...] = ()
    """Keys that evolve, each with all keys below it: policy.T, policy.neuron; none: all (``snn4-agent genome``)."""
    ranges: dict[str, list[Any]] = field(default_factory=dict)
    """Other ranges of genes: ``{policy.T: [1, 8], policy.neuron.kind: [lif, cuba]}``."""
    sampler: Literal["nsga2", "tpe", "cmaes", "random"] = "nsga2"
    """Optuna's sampler that proposes genomes. cmaes changes numbers alone, for one objective."""
    storage: str | None = None
    """URL of the lineage, in SQLAlchemy's form: ``postgresql://user:password@host/name``; null: evolution.db in the run
    folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.population < 2:
            raise ValueError(f"population: got {self.population}, allowed is a whole number >= 2")
        check_least(self, 2, "population")
        check_objectives(self.objectives)
        Preference.parse(self.prefer, self.objectives)
        if self.sampler not in ("nsga2", "tpe", "cmaes", "random"):
            raise ValueError(f"sampler: got {self.sampler!r}, allowed are nsga2, tpe, cmaes, random")
        if self.sampler == "cmaes" and len(self.objectives) > 1:
            raise ValueError(f"sampler: got cmaes with {len(self.objectives)} objectives, allowed is one; set nsga2")

    @property
    def preference(self) -> Preference:
        """The parsed ``prefer``."""
        return Preference.parse(self.prefer, self.objectives)

    def loci(self, config: Any, form: bool = True) -> dict[str, Locus]:
        """The genes of ``config`` that evolve, in these ranges.

        Args:
            config: a config of any kind.
            form: whether genes may change the form of weights.
        """
        found = {name: self._ranged(name, locus) for name, locus in loci(config).items() if self._evolves(name)}
        return {name: locus for name, locus in found.items() if form or not locus.gene.form}

    def _evolves(self, name: str) -> bool:
        return not self.genes or any(f"{name}.".startswith(f"{key}.") for key in self.genes)

    def _ranged(self, name: str, locus: Locus) -> Locus:
        if (limits := self.ranges.get(name)) is None:
            return locus
        if isinstance(locus.gene, Choice):
            return Locus(dataclasses.replace(locus.gene, values=tuple(limits)), locus.value)
        return Locus(dataclasses.replace(locus.gene, low=limits[0], high=limits[1]), locus.value)

    def problems(self, config: Any) -> list[str]:
        """What is wrong with genes and ranges for ``config``, by key."""
        known = loci(config)
        unknown = [key for key in self.genes if not any(f"{name}.".startswith(f"{key}.") for name in known)]
        problems = [f"genes: got {key!r}, allowed are {', '.join(known)}" for key in unknown]
        problems += [problem for name, limits in self.ranges.items() if (problem := _unfit(name, limits, known))]
        if problems:
            return problems
        return [
            f"genes: {name} is {locus.value}, allowed for evolution is {locus.gene}; change it, or its range in "
            "ranges, or name other genes"
            for name, locus in self.loci(config).items()
            if not locus.gene.holds(locus.value)
        ]


@dataclass(frozen=True)
class EvolutionConfig(SearchConfig):
    """Generations inside a life: the organism sleeps, tries variations of itself, and wakes up better or unchanged."""

    every: int | None = 20_000
    """Environment steps awake between two sleeps in a task; null: one sleep, at the end of each task."""
    trial: int = 2_000
    """Environment steps that a candidate learns; those of all candidates count in the life's age and in the task's
    steps."""
    lessons: float = 0.5
    """Fraction of a trial in which a candidate with other genes of the policy first learns the decisions of the
    organism, by distillation; rewards teach the rest."""
    halving: bool = True
    """Whether only the better half of the candidates lives the second half of its trial (successive halving)."""
    episodes: int = 20
    """Episodes in each task with which a candidate is tested; the chosen one is tested again on as many others. As
    validations, they do not count in the life's age."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "trial")
        check_least(self, 4, "episodes")
        if self.every is not None:
            check_least(self, 1, "every")
        if not 0 <= self.lessons <= 1:
            raise ValueError(f"lessons: got {self.lessons}, allowed is a number from 0 to 1")

    @property
    def cost(self) -> int:
        """The most environment steps that the trials of a generation take, apart from the rounding of rollouts."""
        return self.population * self.trial


def _unfit(name: str, limits: Any, known: Mapping[str, Locus]) -> str | None:
    if name not in known:
        return f"ranges: got {name!r}, allowed are {', '.join(known)}"
    gene = known[name].gene
    if isinstance(gene, Choice):
        wrong = [word for word in limits if not isinstance(word, str)]
        return f"ranges.{name}: got {wrong[0]!r}, allowed are words" if wrong or not limits else None
    numbers = len(limits) == 2 and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in limits)
    if not numbers or not limits[0] < limits[1] or (gene.log and limits[0] <= 0):
        return f"ranges.{name}: got {limits}, allowed are two numbers, the lower one first{' and > 0' * gene.log}"
    return None
