"""Fixed splits, stratified by class: the same for every run, whatever its seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SPLIT_SEED = 0
"""Seed of every split; the seed of a run must not choose the test samples."""


def split_by_class(labels: Tensor, n: int, classes: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Row numbers of ``n`` samples, and of the others; both parts have each class in proportion (within one sample).

    Raises:
        ValueError: if a class has fewer than two samples, or ``n`` leaves no room for a sample of each class.
    """
    _check(labels, classes, 2)
    if not len(classes) <= n <= len(labels) - len(classes):
        most = len(labels) - len(classes)
        raise ValueError(
            f"part: got {n} of {len(labels)} samples, allowed are {len(classes)} to {most}: one per class in both parts"
        )
    order = fair_order(labels)
    return order[:n].sort().values, order[n:].sort().values


def fair_order(labels: Tensor) -> Tensor:
    """Row numbers in an order whose every prefix has each class in proportion; first comes one sample of each class."""
    order, counts = _by_class(labels), np.bincount(labels.numpy())
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    size = np.repeat(counts, counts)
    # Every class advances at the same pace. Its first sample comes first and its last one last, so that both parts of
    # a split have one.
    pace = np.where(rank == 0, 0, np.where(rank == size - 1, 1, (rank + 0.5) / size))
    return torch.as_tensor(order[np.argsort(pace, kind="stable")])


def split_in_folds(labels: Tensor, k: int, classes: Sequence[str]) -> list[Tensor]:
    """Row numbers of ``k`` parts with equal sizes and equal numbers of every class, within one sample.

    Raises:
        ValueError: for k < 2, or a class with fewer than k samples.
    """
    if k < 2:
        raise ValueError(f"k: got {k}, allowed is a whole number >= 2")
    _check(labels, classes, k)
    order = _by_class(labels)
    return [torch.as_tensor(np.sort(order[fold::k])) for fold in range(k)]


def _by_class(labels: Tensor) -> np.ndarray:
    """Row numbers by class, shuffled within each class."""
    # The only generator whose numbers NumPy promises never to change.
    order = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
    return order[np.argsort(labels.numpy()[order], kind="stable")]  # type: ignore[no-any-return]


def _check(labels: Tensor, classes: Sequence[str], least: int) -> None:
    counts = np.bincount(labels.numpy(), minlength=len(classes))
    few = [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count < least]
    if few:
        raise ValueError(f"classes: got too few samples of {', '.join(few)}, allowed are {least} or more to split them")
