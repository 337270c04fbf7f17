"""The recipe of a continual training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from snn4.learners.recipe import Recipe


@dataclass(frozen=True)
class ContinualRecipe:
    """Settings of the training in each experience."""

    epochs: int = 1
    """Passes over the samples of an experience; 1 is online learning."""
    batch_size: int = 32
    """New samples per update."""
    memory_batch_size: int | None = None
    """Samples from memory per update. None: as many as new samples."""
    passes: int = 1
    """Updates per mini-batch, each with new augmentation and other samples from memory (repeated augmented rehearsal,
    Zhang et al. 2022)."""
    augment: bool = True
    """Whether new and old samples are augmented, as set for the data set."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """sgd uses Nesterov momentum."""
    fresh_optimizer: bool = True
    """Whether the moments start at 0 in each experience; gdumb and spike-replay always do this."""
    learning_rate: float = 2e-3
    """Largest learning rate of the schedule."""
    momentum: float = 0.9
    """Momentum of sgd; beta1 of adamw."""
    weight_decay: float = 0.0
    """Decay of weights; biases, norms and time constants do not decay."""
    schedule: Literal["constant", "one_cycle", "cosine"] = "constant"
    """Learning rate in each experience: constant, falling linearly (one_cycle), or falling by half a cosine."""
    warmup: float = 0.0
    """Fraction of an experience's updates in which the learning rate rises linearly."""
    final: float = 0.01
    """Learning rate at the end of an experience, as a fraction of the largest; not for constant."""
    clip: float | None = None
    """Largest norm of the gradient."""
    precision: Literal["32", "bf16"] = "32"
    """bf16 runs the network under autocast."""

    def __post_init__(self) -> None:
        for name in ("memory_batch_size", "passes"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 10**6:
                raise ValueError(f"{name}: got {value}, allowed is a whole number >= 1 and <= 1,000,000")
        if self.precision not in ("32", "bf16"):
            raise ValueError(f"precision: got {self.precision!r}, allowed are 32, bf16")
        self.recipe  # noqa: B018  # checks the other fields

    @property
    def recipe(self) -> Recipe:
        """The recipe for the optimizer of a training."""
        return Recipe(
            epochs=self.epochs, batch_size=self.batch_size, optimizer=self.optimizer, learning_rate=self.learning_rate,
            momentum=self.momentum, weight_decay=self.weight_decay, schedule=self.schedule, warmup=self.warmup,
            final=self.final, clip=self.clip,
        )  # fmt: skip
