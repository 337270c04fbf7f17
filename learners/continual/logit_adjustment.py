"""Logit adjustment (Menon et al. 2021; in continual learning Huang et al. 2024) for rare classes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from snn4.learners.continual.experiences import Batches


def log_frequencies(parts: Iterable[tuple[Batches, float]], heads: int, n_classes: int) -> Tensor:
    """Logarithms of the frequencies of classes in updates (heads, classes), within each head.

    The loss adds them, times tau, to the scores (equation 10). The scores themselves then classify as if all classes
    were equally frequent. Absent classes count as the rarest present one, so that they compete only weakly.

    Args:
        parts: the sources of an update, such as an experience and a memory, with columns numbers (B,), labels and
            tasks; and the mean number of samples from each.
        heads: number of heads: one per task, or one for all.
        n_classes: per head.
    """
    expected = torch.stack([size * _shares(part, heads, n_classes) for part, size in parts]).sum(0)
    expected = expected.clamp(min=float(expected[expected > 0].min()))
    return (expected / expected.sum(1, keepdim=True)).log()


def _shares(part: Batches, heads: int, n_classes: int) -> Tensor:
    """Fraction of each class (heads, classes) in all samples."""
    _, labels, tasks, *_ = part.columns
    places = labels + n_classes * tasks if heads > 1 else labels
    return torch.bincount(places, minlength=heads * n_classes).view(heads, n_classes) / part.samples
