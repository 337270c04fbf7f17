"""The recipe of a continual training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from snn4.learners.recipe import Recipe


@dataclass(frozen=True)
class ContinualRecipe:
    """How a network learns from each experience."""

    epochs: int = 1
    """Over the samples of an experience; 1 is online learning."""
    batch_size: int = 32
    """New samples of an update."""
    memory_batch_size: int | None = None
    """Samples out of the memory beside them; None are as many."""
    passes: int = 1
    """Updates on each mini-batch, each time augmented anew and with other samples out of the memory (repeated augmented
    rehearsal, Zhang et al. 2022)."""
    augment: bool = True
    """Whether new and old samples are augmented, as the data set says."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """sgd has Nesterov's momentum."""
    fresh_optimizer: bool = True
    """Whether moments start at 0 in each experience; gdumb's and spike-replay's always do."""
    learning_rate: float = 2e-3
    """Its highest value."""
    momentum: float = 0.9
    """Of sgd; beta1 of adamw."""
    weight_decay: float = 0.0
    """Of weights; biases, norms and time constants have none."""
    schedule: Literal["constant", "one_cycle", "cosine"] = "constant"
    """Of the learning rate, in each experience: constant, falling linearly or by half a cosine."""
    warmup: float = 0.0
    """Part of an experience's updates in which the learning rate rises linearly."""
    final: float = 0.01
    """Learning rate at the end of an experience, as a part of the highest; not for a constant one."""
    clip: float | None = None
    """Largest norm of the gradient."""
    precision: Literal["32", "bf16"] = "32"
    """bf16: the network runs under autocast."""

    def __post_init__(self) -> None:
        for name in ("memory_batch_size", "passes"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 10**6:
                raise ValueError(f"{name}: got {value}, allowed is a whole number >= 1 and <= 1,000,000")
        if self.precision not in ("32", "bf16"):
            raise ValueError(f"precision: got {self.precision!r}, allowed are 32, bf16")
        self.recipe  # noqa: B018  # which checks the rest

    @property
    def recipe(self) -> Recipe:
        """The same for the optimizer of a training."""
        return Recipe(
            epochs=self.epochs, batch_size=self.batch_size, optimizer=self.optimizer, learning_rate=self.learning_rate,
            momentum=self.momentum, weight_decay=self.weight_decay, schedule=self.schedule, warmup=self.warmup,
            final=self.final, clip=self.clip,
        )  # fmt: skip
