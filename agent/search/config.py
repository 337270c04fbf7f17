"""The configuration of an evolution: what evolves, and how it is searched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from snn4.agent.config.fields import check_least, check_name, check_seed
from snn4.agent.evolution.config import SearchConfig

SUBJECTS = ("life", "training", "stream")
"""Kinds of runs whose configs can evolve."""


@dataclass(frozen=True)
class GenerationsConfig(SearchConfig):
    """Generations of candidates, each of which lives a run of its own."""

    generations: int = 10
    """Number of generations. Each candidate is tried once; genes that were tried before are not tried again."""
    compare_random: bool = False
    """Also try as many candidates with random genes (sampler: random), and compare the hypervolumes of the fronts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "generations")


@dataclass(frozen=True)
class EvolveConfig:
    """An evolution: candidates live whole runs of the subject with other genes, and are chosen on validation data."""

    name: str
    """Name of the experiment; run folders begin with it."""
    subject: dict[str, Any]
    """The config of a life, training or stream; its values are the hand-set genes. Each trial has as many CPU threads
    as its ``threads``, or one for 0, so that the number of workers changes no result."""
    search: GenerationsConfig = field(default_factory=GenerationsConfig)
    seed: int = 0
    """Seed of the proposed genes; the trials have the seed of the subject."""
    keep_checkpoints: int = 2
    """Number of checkpoints to keep; one is written after each trial."""
    kind: Literal["evolution"] = "evolution"
    """Kind of run."""

    def __post_init__(self) -> None:
        check_name(self.name)
        check_least(self, 1, "keep_checkpoints")
        check_seed(self.seed)
