"""Recognition: the accuracy of a classifier on images or recordings of events after each step, and early exit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.learners.teachers import Teacher
from snn4.policies.modes import device, evaluating
from snn4.policies.networks.classifier import Network, SpikingClassifier

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) or events (T, B, C, H, W), and labels (B,) of whole numbers from 0."""

THRESHOLDS: tuple[float | None, ...] = (*(1 - 10 ** (-k / 20) for k in range(101)), None)
"""Confidences at which to stop, denser towards 1, where those of networks are; None never stops early."""


class Recognizer(nn.Module):
    """One interface for classifiers and teachers: images or events -> ``(scores of each step (T, B, classes), None)``.

    An ANN has one step and no time: its input is the mean of events over their bins.

    Args:
        network: spiking or not.
        steps: inner steps for an image, or the first bins of events; None takes the config's, or all bins.
        flip: average with the scores of the mirrored input (left to right), at twice the cost.
    """

    def __init__(self, network: Network | Teacher, steps: int | None = None, flip: bool = False) -> None:
        super().__init__()
        self.network, self.steps, self.flip = network, steps, flip

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        if not self.flip:
            return self._scores(x), None
        return (self._scores(x) + self._scores(x.flip(-1))) / 2, None

    def _scores(self, x: Tensor) -> Tensor:
        if not isinstance(self.network, SpikingClassifier):
            has_no_time = x.dim() == 5 and not isinstance(self.network, Teacher)
            return self.network(x.mean(0) if has_no_time else x).unsqueeze(0)  # type: ignore[no-any-return]
        if x.dim() != 5 or self.steps is None:
            return self.network.run(x, steps=self.steps)[0]
        if not 1 <= self.steps <= len(x):
            raise ValueError(f"steps: got {self.steps}, allowed is 1 to {len(x)}, the bins of the events")
        return self.network.run(x[: self.steps])[0]


@dataclass(frozen=True)
class Exit:
    """A decision at the first step where the confidence reaches ``threshold``, or else at the last step."""

    threshold: float | None
    """Threshold of the largest class probability; None never stops early."""
    accuracy: float
    mean_steps: float


@dataclass(frozen=True, eq=False)
class Recognition:
    """Decisions of a classifier on N labelled samples after each of T steps, by its mean scores so far.

    Classes with equal scores rank by their number, the lower one first.
    """

    n_classes: int
    labels: Tensor
    """(N,)"""
    predictions: Tensor
    """(T, N)"""
    ranks: Tensor
    """(T, N): number of classes that rank before the right one."""
    confidences: Tensor
    """(T, N): the largest class probability, by softmax."""
    losses: Tensor
    """(T, N): cross-entropy, nats."""
    flip: bool = False
    """Whether scores are averaged with those of the mirrored input."""

    @property
    def steps(self) -> int:
        return len(self.ranks)

    @property
    def top1(self) -> list[float]:
        """Accuracy after each step."""
        return self._within(1)

    @property
    def top5(self) -> list[float] | None:
        """Share of samples with their class among the first five, after each step; None for five classes or fewer."""
        return self._within(5) if self.n_classes > 5 else None

    @property
    def cross_entropy(self) -> list[float]:
        """Mean over samples after each step, nats."""
        return self.losses.double().mean(1).tolist()  # type: ignore[no-any-return]

    @property
    def confusion(self) -> Tensor:
        """Number of samples of each class (rows) predicted as each class (columns) after all steps."""
        pairs = self.labels * self.n_classes + self.predictions[-1]
        return pairs.bincount(minlength=self.n_classes**2).view(self.n_classes, self.n_classes)

    @property
    def class_accuracy(self) -> list[float | None]:
        """Accuracy of each class after all steps; None for a class without samples."""
        confusion = self.confusion
        pairs = zip(confusion.diagonal().tolist(), confusion.sum(1).tolist(), strict=True)
        return [right / number if number else None for right, number in pairs]

    def exit(self, threshold: float | None) -> Exit:
        """Accuracy and mean steps with early exit at a confidence >= ``threshold``."""
        sure = self.confidences >= (2.0 if threshold is None else threshold)
        sure[-1] = True
        first = sure.int().argmax(0)
        right = self.ranks.gather(0, first.unsqueeze(0)) == 0
        return Exit(threshold, right.double().mean().item(), first.double().mean().item() + 1)

    def exit_curve(self) -> list[Exit]:
        """Early exit at each of `THRESHOLDS`."""
        return [self.exit(threshold) for threshold in THRESHOLDS]

    def _within(self, k: int) -> list[float]:
        return (self.ranks < k).double().mean(1).tolist()  # type: ignore[no-any-return]


def recognize(
    network: Network | Teacher, batches: Iterable[Batch], n_classes: int, steps: int | None = None, flip: bool = False
) -> Recognition:
    """Show ``network`` all samples once, without learning, in eval mode; its modes are restored afterwards.

    One run over T steps gives the accuracy after each step, since networks are causal. Scores are compared in float32,
    also under autocast. `Recognizer` explains ``steps`` and ``flip``.

    Raises:
        ValueError: no samples; labels or scores that do not fit ``n_classes``; NaN or infinity in inputs, weights or
            scores. The message names the tensor or the number of the batch, from 0.
    """
    _check_weights(network)
    recognizer = Recognizer(network, steps, flip)
    parts: list[tuple[Tensor, ...]] = []
    where = device(network)
    with evaluating(network):
        for number, (x, labels) in enumerate(batches):
            if not torch.isfinite(x).all():
                raise ValueError(f"x: got NaN or infinity in batch {number}, allowed are finite numbers")
            scores, _ = recognizer(x.to(where))
            scores, labels = scores.float(), labels.to(where)
            _check(number, scores, labels, n_classes, expected_steps=len(parts[0][1]) if parts else len(scores))
            parts.append((labels.cpu(), *(part.cpu() for part in _judge(scores, labels))))
    if not sum(len(part[0]) for part in parts):
        raise ValueError("batches: got no samples, allowed is one or more")
    labels, predictions, ranks, confidences, losses = (torch.cat(part, -1) for part in zip(*parts, strict=True))
    return Recognition(n_classes, labels, predictions, ranks, confidences, losses, flip)


def select_exit(validation: Recognition, tolerance: float = 0.001) -> Exit:
    """The threshold with the fewest mean steps that loses at most ``tolerance`` of the accuracy after all steps.

    Choose it on validation data, and report ``test.exit(chosen.threshold)``.
    """
    if not 0 <= tolerance <= 1:
        raise ValueError(f"tolerance: got {tolerance}, allowed is a fraction from 0 to 1")
    enough = validation.top1[-1] - tolerance - 1e-9  # for rounding
    return min(
        (choice for choice in validation.exit_curve() if choice.accuracy >= enough),
        key=lambda choice: (choice.mean_steps, -choice.accuracy),
    )


def _judge(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Predictions, ranks, confidences and losses, each (T, B), from the running mean of scores (T, B, n_classes)."""
    numbers = torch.arange(1, len(scores) + 1, device=scores.device).view(-1, 1, 1)
    means = scores.cumsum(0) / numbers
    log_probabilities = F.log_softmax(means, -1)
    right = labels.expand(len(scores), -1).unsqueeze(-1)
    right_score = means.gather(-1, right)
    is_lower_class = torch.arange(means.shape[-1], device=scores.device) < right
    ranks = ((means > right_score) | ((means == right_score) & is_lower_class)).sum(-1)
    return means.argmax(-1), ranks, log_probabilities.amax(-1).exp(), -log_probabilities.gather(-1, right).squeeze(-1)


def _check_weights(network: nn.Module) -> None:
    """ValueError for NaN or infinity, which scores would not show: a neuron with NaN as input is silent."""
    for name, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{name}: got NaN or infinity, allowed are finite numbers; take an earlier checkpoint")


def _check(number: int, scores: Tensor, labels: Tensor, n_classes: int, expected_steps: int) -> None:
    where = f"in batch {number}"
    if scores.shape[-1] != n_classes:
        raise ValueError(f"scores: got {scores.shape[-1]} classes {where}, allowed is n_classes ({n_classes})")
    if labels.shape != scores.shape[1:2] or labels.is_floating_point():
        got = f"shape {tuple(labels.shape)}, {labels.dtype}"
        raise ValueError(f"labels: got {got} {where}, allowed are whole numbers ({scores.shape[1]},), one per sample")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        bad = labels[(labels < 0) | (labels >= n_classes)][0].item()
        raise ValueError(f"labels: got {bad} {where}, allowed is 0 to {n_classes - 1}")
    if not torch.isfinite(scores).all():
        raise ValueError(f"scores: got NaN or infinity {where}, allowed are finite numbers")
    if len(scores) != expected_steps:
        raise ValueError(f"x: got {len(scores)} steps {where}, allowed is {expected_steps}, as in the first batch")
