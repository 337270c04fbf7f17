"""Avalanche's training loop, one mini-batch at a time, so that it can be watched and stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from snn4.learners.continual.experiences import Batches, columns
from snn4.learners.continual.numbered_model import Sight
from snn4.learners.recipe import Recipe, learning_rate


@dataclass(frozen=True)
class Update:
    """A report on an update."""

    epoch: int
    images: int
    """New samples learned so far, in all epochs."""
    total: int
    ends_epoch: bool
    sums: Tensor
    """Sums over the mini-batch, including replayed samples: loss, correct answers, samples (3,)."""


def in_pieces(kind: type[Any]) -> type[Any]:
    """A subclass of Avalanche's strategy ``kind`` that learns in pieces, for networks that do not grow.

    It indexes whole mini-batches, and takes one more argument, ``passes``: updates per mini-batch.
    """

    class InPieces(kind):  # type: ignore[misc]
        def __init__(self, *, passes: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.passes = passes

        def make_train_dataloader(self, **kwargs: Any) -> None:
            self.dataloader = Batches(columns(self.adapted_dataset), self.train_mb_size, self.passes)

        def check_model_and_optimizer(self, **kwargs: Any) -> None:
            """Do nothing: parameters are never added or removed."""

        def model_adaptation(self, model: nn.Module | None = None) -> nn.Module:
            return self.model if model is None else model

        def learn(self, experience: Any) -> Iterator[Update]:
            """Avalanche's `train` as a generator that pauses after each update."""
            self.is_training, self._stop_training = True, False
            self.model.train()
            self._before_training()
            self.experience = experience
            self._before_training_exp()
            batches, n = self.dataloader, len(self.adapted_dataset)  # plugins may have replaced the loader
            for epoch in range(self.train_epochs):
                self._before_training_epoch()
                for number, batch in enumerate(batches, 1):
                    self.dataloader = [batch]  # type: ignore[assignment]  # an epoch of one mini-batch
                    self.training_epoch()
                    images = epoch * n + n * number // len(batches)
                    yield Update(epoch, images, n * self.train_epochs, number == len(batches), self._sums())
                self._after_training_epoch()
            self._after_training_exp()
            self._after_training()
            self._train_cleanup()

        def _sums(self) -> Tensor:
            n = torch.tensor(float(len(self.mb_y)), device=self.device)
            right = (self.mb_output.detach().argmax(1) == self.mb_y).sum()
            return torch.stack([self.loss.detach().squeeze() * n, right, n])

    return InPieces


class RecipePlugin(SupervisedPlugin):  # type: ignore[misc]
    """Learning rate, clipping and augmentation of each update; must be the first plugin.

    Args:
        config: the recipe.
        sight: does the augmentation.
    """

    def __init__(self, config: Recipe, sight: Sight) -> None:
        super().__init__()
        self.config = config
        self.sight = sight
        self.step = 0
        self.steps = 0

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.step, self.steps = 0, strategy.train_epochs * len(strategy.dataloader)

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.sight.update = int(torch.randint(2**62, ()))
        rate = learning_rate(self.config, self.step, self.steps)
        for group in strategy.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self.step += 1

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(strategy.model.parameters(), self.config.clip)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.sight.update = None
