"""Logit adjustment (Menon et al. 2021; in continual learning Huang et al. 2024): rare classes are learned as if frequent."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from snn4.learners.experiences import Batches


def log_frequencies(parts: Iterable[Batches], heads: int, n_classes: int) -> Tensor:
    """Logarithms of how frequent classes are in updates (heads, classes), among those of a head.

    Added to the scores that learn, times tau (equation 10), they leave the scores alone to tell classes as if all came
    equally often. Classes that do not come count as the rarest that does: they compete, but hardly.

    Args:
        parts: what an update is drawn from, such as an experience and a memory: samples (B,), labels, tasks.
        heads: outputs have one for each task, or one for all.
        n_classes: of a head.
    """
    expected = torch.stack([_expected(part, heads, n_classes) for part in parts]).sum(0)
    expected = expected.clamp(min=float(expected[expected > 0].min()))
    return (expected / expected.sum(1, keepdim=True)).log()


def _expected(part: Batches, heads: int, n_classes: int) -> Tensor:
    """Samples of each class in a mini-batch (heads, classes), in the mean."""
    _, labels, tasks, *_ = part.columns
    places = labels + n_classes * tasks if heads > 1 else labels
    counts = torch.bincount(places, minlength=heads * n_classes).view(heads, n_classes)
    return counts * min(part.batch_size / part.samples, 1)
