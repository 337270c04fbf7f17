"""The configuration of a stream of experiences: one network, one stream, one strategy against forgetting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from snn4.agent.config.fields import check_least, check_name, check_seed
from snn4.envs.stream_config import StreamConfig
from snn4.learners.continual.config import ContinualRecipe
from snn4.learners.continual.strategies import StrategyConfig
from snn4.policies.networks.config import NetworkConfig


@dataclass(frozen=True)
class ContinualConfig:
    """Which network learns which experiences, and with which strategy against forgetting."""

    name: str
    """Name of the experiment; run folders begin with it."""
    stream: StreamConfig = field(default_factory=StreamConfig)
    seed: int = 0
    """Seed of weights, order of the samples, augmentation and the strategy's choices; the stream has its own."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    training: ContinualRecipe = field(default_factory=ContinualRecipe)
    evaluate_on: Literal["test", "validation"] = "test"
    """Data for the test after each experience; take validation to choose a strategy and its settings."""
    ann_twin: bool = False
    """Also train the ANN twin, with the same layers, stream, strategy, memory and recipe, and compare."""
    keep_checkpoints: int = 2
    """Number of checkpoints to keep; one is written after each experience."""
    device: str = "cpu"
    """torch device."""
    threads: int = 0
    """CPU threads of torch; 0 takes all cores."""
    kind: Literal["stream"] = "stream"
    """Kind of run."""

    @property
    def fixed_genes(self) -> tuple[str, ...]:
        """Keys that cannot evolve beside the other values; see `snn4.policies.gene.loci`."""
        return ("network.T",) if self.stream.data.is_events else ()

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.evaluate_on not in ("test", "validation"):
            raise ValueError(f"evaluate_on: got {self.evaluate_on!r}, allowed are test, validation")
        check_least(self, 1, "keep_checkpoints")
        check_least(self, 0, "threads")
        check_seed(self.seed)
        self.strategy.check_scenario(self.stream.scenario)
