"""The configuration of a training: one classifier, one data set, one recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from snn4.agent.config.fields import check_least, check_name, check_seed
from snn4.agent.models.sources import ALLOWED, Sources
from snn4.envs.data.datasets import DataConfig
from snn4.learners.distillation import Distillation
from snn4.learners.recipe import Recipe
from snn4.policies.networks.config import NetworkConfig


@dataclass(frozen=True)
class FabricConfig:
    """Devices of a training, in lightning-fabric's terms."""

    accelerator: str = "auto"
    """cpu, cuda, mps, or auto: the fastest one available."""
    devices: int = 1
    """Processes, each with its own device; batch_size counts per process."""
    strategy: str = "auto"
    """ddp for several devices."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """float32, or bfloat16 where that is safe: faster on processors with bfloat16, slower on others."""

    def __post_init__(self) -> None:
        if self.accelerator not in ("auto", "cpu", "cuda", "mps"):
            raise ValueError(f"accelerator: got {self.accelerator!r}, allowed are auto, cpu, cuda, mps")
        check_least(self, 1, "devices")
        if self.strategy not in ("auto", "ddp"):
            raise ValueError(f"strategy: got {self.strategy!r}, allowed are auto, ddp")


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Distillation, Sources):
    """One or several trained classifiers whose answers the network learns, and how it learns them."""

    twin: bool = True
    """Whether the ANN twin also learns from the teacher. A fair comparison needs the same lessons for both."""

    def __post_init__(self) -> None:
        Sources.__post_init__(self)
        Distillation.__post_init__(self)
        if self.asks and not self.names:
            raise ValueError(f"source: got no teacher, {ALLOWED}; or set logits, features and attention to 0")
        if self.names and not self.asks:
            raise ValueError(
                f"source: got {self.source!r}, allowed is none where logits, features and attention are 0; set one"
            )


@dataclass(frozen=True)
class TrainingConfig:
    """A training: which network learns which data, and how."""

    name: str
    """Name of the experiment; run folders begin with it."""
    data: DataConfig = field(default_factory=DataConfig)
    seed: int = 0
    """Seed of weights, order of the data, augmentation and mixing."""
    initial: str | None = None
    """Folder of a training or conversion, or zoo:NAME: learning starts from the weights of its spiking network, on
    images in its scale. Without ``network``, its network is taken; a ``network`` without a name changes single keys of
    it, such as T and the neuron. null: new weights."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: Recipe = field(default_factory=Recipe)
    fabric: FabricConfig = field(default_factory=FabricConfig)
    teacher: TeacherConfig | None = None
    """Trained classifiers from which the network learns beside the labels; null: from the labels alone."""
    ann_twin: bool = False
    """Also train the ANN twin, with the same layers, data, recipe and epochs, and compare."""
    flip: bool = False
    """Test with the mean over each image and its mirror image."""
    keep_checkpoints: int = 2
    """Number of checkpoints to keep; one is written after each epoch, and every ten minutes."""
    threads: int = 0
    """CPU threads of torch in each process; 0 shares all cores among the processes."""
    workers: int = 0
    """Additional processes that prepare batches, per process: for large images; 0 prepares them between the steps."""
    kind: Literal["training"] = "training"
    """Kind of run."""

    def __post_init__(self) -> None:
        check_name(self.name)
        check_least(self, 1, "keep_checkpoints")
        check_least(self, 0, "threads", "workers")
        check_seed(self.seed)
        if self.initial == "":
            raise ValueError(
                "initial: got an empty name, allowed is the folder of a training or conversion, or zoo:NAME"
            )
        if self.flip and "flip" not in self.data.augmentations:
            raise ValueError(f"flip: not allowed with {self.data.name}, whose mirror images differ; set false")
        if self.training.gradient == "rates" and self.data.is_events:
            raise ValueError(
                "training.gradient: got rates, allowed for events is surrogate, because they change in time"
            )
        if self.teacher is not None:
            self._check_lessons(self.teacher)

    @property
    def fixed_genes(self) -> tuple[str, ...]:
        """Keys that cannot evolve beside the other values; see `snn4.policies.gene.loci`."""
        return ("network.T",) if self.data.is_events or self.training.T is not None else ()

    def _check_lessons(self, teacher: TeacherConfig) -> None:
        if teacher.looks_inside and self.training.checkpoint_steps is not None:
            raise ValueError(
                "training.checkpoint_steps: not allowed with teacher.features and teacher.attention, which look inside "
                "the network; set null"
            )
        if self.training.gradient == "rates" and (teacher.looks_inside or teacher.steps):
            raise ValueError(
                "training.gradient: got rates, allowed with teacher.features, teacher.attention and teacher.steps is "
                "surrogate, because only the mean scores have a gradient"
            )
        most = max((T for _, T in self.training.T or ()), default=self.network.T)
        if teacher.steps and most == 1 and not self.data.is_events:
            raise ValueError(f"teacher.steps: got {teacher.steps} with one inner step, allowed is 0; or set network.T")
