"""The configuration of a transformation: which model, on which data, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from snn4.agent.config.fields import check_least, check_name, check_seed
from snn4.envs.data.datasets import DataConfig
from snn4.learners.conversion.conversion import ConversionConfig
from snn4.learners.recipe import Recipe
from snn4.policies.compression.config import CompressionConfig


@dataclass(frozen=True)
class ModelConfig:
    """A trained network, and how its inputs were normalised."""

    source: str
    """To convert: the folder of a training (its ANN twin), zoo:NAME, a file of weights (.safetensors, .pt, .pth, .th)
    with its architecture, torchvision:NAME, timm:NAME; the .zip of an agent that stable-baselines3 saved; or a .nir
    file, whose spiking network is taken as it is. To compress: the run folder of a life, of a training or of a
    conversion (its spiking network), or zoo:NAME."""
    architecture: str | None = None
    """Of a file of weights: resnet-20-a to resnet-56-a (He et al. 2016, option A), torchvision:NAME, or timm:NAME."""
    mean: tuple[float, ...] | None = None
    """Value subtracted from each channel, in 0 to 1. None: what the model says, or else the data."""
    std: tuple[float, ...] | None = None
    """Value that each channel is then divided by; set it together with ``mean``."""

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("source: got an empty name, allowed is a folder, a file or a name; see the documentation")
        if len(self.mean or ()) != len(self.std or ()):
            raise ValueError(f"std: got {self.std}, allowed are as many numbers as in mean, {self.mean}")
        if not all(value > 0 for value in self.std or ()):
            raise ValueError(f"std: got {self.std}, allowed are numbers > 0")


def _finetuning() -> Recipe:
    return Recipe(
        epochs=20, optimizer="sgd", learning_rate=0.02, weight_decay=5e-4, schedule="cosine", warmup=0.05, final=0.0
    )


@dataclass(frozen=True)
class TransformationConfig:
    """A transformation: an ANN becomes a spiking network, or a spiking network becomes a smaller one."""

    name: str
    """Name of the experiment; run folders begin with it."""
    model: ModelConfig
    kind: Literal["transformation"] = "transformation"
    """Kind of run."""
    environment: str | None = None
    """Gymnasium id, for an agent of stable-baselines3 (source: a .zip); it plays there for its calibration states."""
    data: DataConfig = field(default_factory=DataConfig)
    """Of classifiers. The training part calibrates and finetunes, the validation part diagnoses, the test part is for
    ``evaluate``."""
    convert: ConversionConfig = field(default_factory=ConversionConfig)
    compress: CompressionConfig | None = None
    """Makes a spiking network smaller, instead of converting an ANN; null converts."""
    task: str | None = None
    """Of a life that is compressed: the task whose policy is taken; null takes the last one."""
    finetune: Recipe = field(default_factory=_finetuning)
    """The finetuning before the conversion (convert.method: qcfs), or the recovery of a compressed classifier."""
    distillation: float = 0.0
    """Part of the finetuning's loss that is the divergence from the answers of the network as it came; the rest is the
    recipe's own loss."""
    episodes: int = 100
    """Test episodes of an agent and its conversion; validation and test episodes of a compressed policy."""
    examined: int = 500
    """Validation images on which a conversion is diagnosed. Training images on which a compression measures the use
    of channels, and the norms where finetune.T or compress.recover asks for it."""
    seed: int = 0
    """Seed of the drawn calibration images, and of the finetuning."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Of the finetuning: float32, or bfloat16 where that is safe."""
    keep_checkpoints: int = 2
    """Number of checkpoints to keep; one is written after each epoch of the finetuning."""
    threads: int = 0
    """CPU threads of torch; 0 takes all cores."""

    def __post_init__(self) -> None:
        check_name(self.name)
        check_least(self, 1, "keep_checkpoints", "examined", "episodes")
        check_least(self, 0, "threads")
        check_seed(self.seed)
        if self.finetune.gradient != "surrogate":
            raise ValueError(
                f"finetune.gradient: got {self.finetune.gradient}, allowed is surrogate; a training that starts from a "
                "conversion can have rates"
            )
        if self.compress is not None:
            self._check_compression()
            return
        if self.task is not None:
            raise ValueError(f"task: got {self.task!r}, allowed without compress is null")
        if self.environment is not None and self.convert.method == "qcfs":
            raise ValueError("convert.method: got qcfs, allowed for an agent are threshold-balance, calibrate")
        if (self.environment is None) == self.model.source.endswith(".zip"):
            wanted = "allowed for a .zip of stable-baselines3 is a Gymnasium id"
            raise ValueError(f"environment: got {self.environment}, {wanted}, and null for classifiers")
        if self.data.is_events:
            raise ValueError(f"data: got {self.data.name}, allowed are images, which an ANN sees as they are")
        if not 0 <= self.distillation <= 1:
            raise ValueError(f"distillation: got {self.distillation}, allowed is a number from 0 to 1")
        if self.finetune.T is not None:
            raise ValueError("finetune.T: not allowed, because an ANN has no inner steps; set null")

    def _check_compression(self) -> None:
        if self.environment is not None:
            raise ValueError(f"environment: got {self.environment}, allowed with compress is null; see task")
        if self.model.architecture is not None:
            raise ValueError(
                f"model.architecture: got {self.model.architecture}, allowed with compress is null: spiking networks "
                "say it themselves"
            )
        if not 0 <= self.distillation <= 1:
            raise ValueError(f"distillation: got {self.distillation}, allowed is a number from 0 to 1")
