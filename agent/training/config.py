"""The configuration of a training: one classifier, one data set, one recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from snn4.agent.config.fields import check_least, check_name, check_seed
from snn4.envs.data.datasets import DataConfig
from snn4.learners.recipe import Recipe
from snn4.policies.networks.config import NetworkConfig


@dataclass(frozen=True)
class FabricConfig:
    """Where a training runs: lightning-fabric's own words."""

    accelerator: str = "auto"
    """cpu, cuda, mps, or auto: the fastest that is there."""
    devices: int = 1
    """Processes, each with a device of its own; batch_size is that of each."""
    strategy: str = "auto"
    """ddp for several devices."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """float32, or bfloat16 where that is safe: faster where the processor has it, slower elsewhere."""

    def __post_init__(self) -> None:
        if self.accelerator not in ("auto", "cpu", "cuda", "mps"):
            raise ValueError(f"accelerator: got {self.accelerator!r}, allowed are auto, cpu, cuda, mps")
        check_least(self, 1, "devices")
        if self.strategy not in ("auto", "ddp"):
            raise ValueError(f"strategy: got {self.strategy!r}, allowed are auto, ddp")


@dataclass(frozen=True)
class TrainingConfig:
    """A training: what learns what, and how."""

    name: str
    """Name of the experiment; run folders begin with it."""
    data: DataConfig = field(default_factory=DataConfig)
    seed: int = 0
    """Weights, order of the data, augmentation and mixing follow from it."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: Recipe = field(default_factory=Recipe)
    fabric: FabricConfig = field(default_factory=FabricConfig)
    ann_twin: bool = False
    """Also train the ANN twin: same layers, data, recipe and epochs; and compare."""
    flip: bool = False
    """Test with the mean over each image and its mirror image."""
    keep_checkpoints: int = 2
    """Checkpoints that are kept; one is written after each epoch, and every ten minutes."""
    threads: int = 0
    """CPU threads of torch in each process; 0 shares out all cores."""
    workers: int = 0
    """Processes beside each that prepare its batches: for large images; 0 prepares them between the steps."""
    kind: Literal["training"] = "training"
    """What the file describes."""

    def __post_init__(self) -> None:
        check_name(self.name)
        check_least(self, 1, "keep_checkpoints")
        check_least(self, 0, "threads", "workers")
        check_seed(self.seed)
        if self.flip and "flip" not in self.data.augmentations:
            raise ValueError(f"flip: got true, allowed for {self.data.name} is false: mirrored they differ")
