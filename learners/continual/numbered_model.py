"""What Avalanche trains: a network that is given numbers of training samples and looks them up."""

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
"""Task labels: those that the samples have."""


class Sight:
    """How raw samples come before a network, shared by all copies of it.

    Args:
        stream: normalizes and augments.
        samples: the images behind the numbers.
        augment: whether samples that are learned from are augmented.
    """

    def __init__(self, stream: ExperienceStream, samples: NumberedSamples, augment: bool) -> None:
        self.stream, self.samples, self.augment = stream, samples, augment
        self.update: int | None = None
        """A random number for the present update; None where nothing is learned and so nothing augmented."""

    def __deepcopy__(self, memo: Any) -> Sight:
        return self

    def images(self, numbers: Tensor) -> Tensor:
        """Raw samples; in one update every network that asks for a sample, a teacher say, sees it augmented alike."""
        numbers = numbers.cpu()
        x = self.samples.images(numbers)
        if not self.augment or self.update is None:
            return x
        return self.stream.augment(x, _mixed(numbers + self.update))


class NumberedModel(nn.Module):
    """Numbers of training samples (B,) -> class scores (B, n_classes), the mean over all steps.

    Args:
        network: what sees them.
        sight: where images come from.
        split: gives `latent` and `from_latent`, for strategies that need them.
        device: of the network.
        bf16: whether the network runs under autocast.
    """

    def __init__(
        self, network: Network, sight: Sight, split: SplitNetwork | None, device: torch.device, bf16: bool
    ) -> None:
        super().__init__()
        self.network, self.sight, self.device, self.bf16 = network, sight, device, bf16
        self._split = split
        self.heads = network.config.n_classes // sight.stream.n_classes
        self.lower_frozen = False
        """Whether the layers before the split learn no more."""
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
        """Let them learn again."""
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
        """Of all heads that of each sample's task."""
        if self.heads == 1:
            return scores
        tasks = tasks.to(scores.device)
        return scores.unflatten(1, (self.heads, -1))[torch.arange(len(scores), device=scores.device), tasks]

    def latent(self, x: Tensor) -> Tensor:
        """The latent of raw samples: (T, B, …), or (B, …) in a network without time."""
        return self._run(self.split.lower, self._seen(x))

    def from_latent(self, latent: Tensor, tasks: Tensor) -> Tensor:
        """Class scores of what `latent` gave."""
        return self.head(self._run(self.split.upper, latent), tasks)

    def features(self, x: Tensor) -> Tensor:
        """The latent's mean over all steps (B, F): before a linear readout, all that the scores depend on."""
        latent = self.latent(x)
        return (latent.mean(0) if self.split.spiking else latent).flatten(1)

    def _seen(self, x: Tensor) -> Tensor:
        x = self.sight.stream.normalized(x).to(self.device)
        x = x.mean(0) if x.dim() == 5 and isinstance(self.network, Classifier) else x  # as `supervised` does
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def _run(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return network(x).float()


class MultiHeadModel(NumberedModel, MultiTaskModule):
    """The same for task labels: a head for each, all in one readout."""

    def forward(self, numbers: Tensor, task_labels: Any = OWN) -> Any:
        """Scores of each sample's own head, or with None, Avalanche's word for all, those of every head by its task."""
        if task_labels is not None:
            return super().forward(numbers)
        scores = self.scores(self.sight.images(numbers)).unflatten(1, (self.heads, -1))
        return dict(enumerate(scores.unbind(1)))


def _mixed(x: Tensor) -> Tensor:
    """Numbers in 0 to 2^62 that have nothing to do with each other, of int64 ones that may be neighbours (splitmix64,
    Steele et al. 2014; int64 overflows as uint64 does)."""
    x = x * -7046029254386353131
    x = (x ^ _shifted(x, 30)) * -4658895280553007687
    x = (x ^ _shifted(x, 27)) * -7723592293110705685
    return _shifted(x ^ _shifted(x, 31), 2)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, zeros following."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
