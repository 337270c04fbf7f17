"""The model that Avalanche trains: a network that looks up training samples by number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from avalanche.models import MultiTaskModule
from torch import Tensor, nn
from typing_extensions import Self

from snn4.learners.continual.experiences import ExperienceStream, NumberedSamples
from snn4.learners.continual.split_network import SplitNetwork
from snn4.policies.networks.classifier import Classifier, Network

OWN = "own"
"""Task labels: the labels of the samples."""


class Sight:
    """Conversion of raw samples to inputs, shared by all copies of a network.

    Args:
        stream: normalizes and augments.
        samples: the images by number.
        augment: whether samples are augmented during learning.
    """

    def __init__(self, stream: ExperienceStream, samples: NumberedSamples, augment: bool) -> None:
        self.stream = stream
        self.samples = samples
        self.augment = augment
        self.update: int | None = None
        """A random number for the current update; None outside of learning, without augmentation."""

    def __deepcopy__(self, memo: Any) -> Sight:
        return self

    def images(self, numbers: Tensor) -> Tensor:
        """Raw samples; within an update, all networks (such as a teacher) see the same augmentation of a sample."""
        numbers = numbers.cpu()
        x = self.samples.images(numbers)
        if not self.augment or self.update is None:
            return x
        return self.stream.augment(x, _mixed(numbers + self.update))


class NumberedModel(nn.Module):
    """Numbers of training samples (B,) -> class scores (B, n_classes), the mean over all steps.

    Args:
        network: computes scores of images.
        sight: provides the images.
        split: for `latent` and `from_latent`, in strategies that need them.
        device: of the network.
        bf16: whether the network runs under autocast.
    """

    def __init__(
        self, network: Network, sight: Sight, split: SplitNetwork | None, device: torch.device, bf16: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.sight = sight
        self.device = device
        self.bf16 = bf16
        self._split = split
        self.heads = network.config.n_classes // sight.stream.n_classes
        self.lower_frozen = False
        """Whether the layers before the split are frozen."""
        self._frozen: list[nn.Parameter] = []

    @property
    def split(self) -> SplitNetwork:
        assert self._split is not None
        return self._split

    def freeze_lower(self) -> None:
        """Freeze the layers before the split, with the statistics of their norms."""
        self.lower_frozen = True
        self._frozen += self.split.freeze_lower()

    def unfreeze_lower(self) -> None:
        """Unfreeze the layers before the split."""
        self.lower_frozen = False
        for parameter in self._frozen:
            parameter.requires_grad_()
        self._frozen = []

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.lower_frozen:
            for layer in self.split.lower_layers:
                layer.eval()
        return self

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Evaluation mode inside a ``with`` block."""
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(training)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.answer(self.sight.images(numbers), self.sight.samples.tasks[numbers.cpu()])

    def answer(self, x: Tensor, tasks: Tensor) -> Tensor:
        """Class scores (B, n_classes) for raw samples (B, …)."""
        return self.head(self.scores(x), tasks)

    def scores(self, x: Tensor) -> Tensor:
        """Scores of all heads (B, outputs) for raw samples (B, …)."""
        return self._run(self.network, self._seen(x))

    def head(self, scores: Tensor, tasks: Tensor) -> Tensor:
        """Scores (B, n_classes) in the head of each sample's task."""
        if self.heads == 1:
            return scores
        tasks = tasks.to(scores.device)
        return scores.unflatten(1, (self.heads, -1))[torch.arange(len(scores), device=scores.device), tasks]

    def latent(self, x: Tensor) -> Tensor:
        """The latent of raw samples: (T, B, …), or (B, …) in an ANN."""
        return self._run(self.split.lower, self._seen(x))

    def from_latent(self, latent: Tensor, tasks: Tensor) -> Tensor:
        """Class scores of a `latent`."""
        return self.head(self._run(self.split.upper, latent), tasks)

    def features(self, x: Tensor) -> Tensor:
        """The latent's mean over all steps (B, F): before a linear readout, it determines the scores."""
        latent = self.latent(x)
        return (latent.mean(0) if self.split.spiking else latent).flatten(1)

    def _seen(self, x: Tensor) -> Tensor:
        x = self.sight.stream.normalized(x).to(self.device)
        x = x.mean(0) if x.dim() == 5 and isinstance(self.network, Classifier) else x  # as in `supervised`
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def _run(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return network(x).float()


class MultiHeadModel(NumberedModel, MultiTaskModule):
    """A `NumberedModel` for task labels: one head per task, all in one readout."""

    def forward(self, numbers: Tensor, task_labels: Any = OWN) -> Any:
        """Scores in each sample's own head; or, for None (Avalanche's sign for all), scores of every head by task."""
        if task_labels is not None:
            return super().forward(numbers)
        scores = self.scores(self.sight.images(numbers)).unflatten(1, (self.heads, -1))
        return dict(enumerate(scores.unbind(1)))


def _mixed(x: Tensor) -> Tensor:
    """Hashes in 0 to 2^62 of int64 numbers, unrelated even for adjacent numbers (splitmix64, Steele et al. 2014; int64
    overflows like uint64)."""
    x = x * -7046029254386353131
    x = (x ^ _shifted(x, 30)) * -4658895280553007687
    x = (x ^ _shifted(x, 27)) * -7723592293110705685
    return _shifted(x ^ _shifted(x, 31), 2)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
