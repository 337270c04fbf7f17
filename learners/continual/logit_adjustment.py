"""Logit adjustment (Menon et al. 2021; in continual learning Huang et al. 2024): rare classes learn like others."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from snn4.learners.continual.experiences import Batches


def log_frequencies(parts: Iterable[tuple[Batches, float]], heads: int, n_classes: int) -> Tensor:
    """Logarithms of how frequent classes are in updates (heads, classes), among those of a head.

    Added to the scores that learn, times tau (equation 10), they leave the scores alone to tell classes as if all came
    equally often. Classes that do not come count as the rarest that does: they compete, but hardly.

    Args:
        parts: what an update is drawn from, such as an experience and a memory, samples (B,), labels, tasks; and how
            many of each, in the mean.
        heads: outputs have one for each task, or one for all.
        n_classes: of a head.
    """
    expected = torch.stack([size * _shares(part, heads, n_classes) for part, size in parts]).sum(0)
    expected = expected.clamp(min=float(expected[expected > 0].min()))
    return (expected / expected.sum(1, keepdim=True)).log()


def _shares(part: Batches, heads: int, n_classes: int) -> Tensor:
    """Of each class (heads, classes) in all samples."""
    _, labels, tasks, *_ = part.columns
    places = labels + n_classes * tasks if heads > 1 else labels
    return torch.bincount(places, minlength=heads * n_classes).view(heads, n_classes) / part.samples
