"""Parts of ER-ACE (Caccia et al. 2022): the loss, and a memory that holds only samples of past updates."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snn4.learners.continual.experiences import columns


def asymmetric_cross_entropy(new: Tensor, labels: Tensor, old: Tensor, old_labels: Tensor) -> Tensor:
    """Mean of two cross-entropies: of replayed samples over all classes, and of new samples over new classes only.

    Avalanche's loss is the same up to a difference of about 100 between two scores; beyond, it is infinite or NaN.

    Args:
        new: scores (B, classes) of a mini-batch.
        labels: of the mini-batch (B,).
        old: scores (M, classes) of samples from memory.
        old_labels: of the samples from memory (M,).
    """
    classes, places = labels.unique(return_inverse=True)
    return (F.cross_entropy(old, old_labels) + F.cross_entropy(new[:, classes], places)) / 2


class Arriving:
    """Random samples from a memory that samples of an experience enter one by one, after the updates on them.

    Each new sample replaces one that the memory will have lost at the end of the experience.

    Args:
        before: the memory at the beginning of the experience, a dataset of Avalanche.
        after: the memory at the end.
        size: capacity of the memory in samples.
        batch_size: samples per draw, without repetition; all samples if there are fewer.
    """

    def __init__(self, before: Any, after: Any, size: int, batch_size: int) -> None:
        old, new = columns(before), columns(after)
        self.size, self.batch_size = size, batch_size
        leaving = ~torch.isin(old[0], new[0])
        self.columns = [torch.cat([y, x[leaving]]) for x, y in zip(old, new, strict=True)]
        self.present = torch.isin(self.columns[0], old[0])
        self._staying = len(new[0])
        order = torch.randperm(int(leaving.sum()))
        self._leaving = self._staying + order

    def meet(self, numbers: Tensor) -> None:
        """Add those of the samples (B,) that the memory will hold at the end."""
        self.present[: self._staying] |= torch.isin(self.columns[0][: self._staying], numbers.cpu())
        surplus = max(int(self.present.sum()) - self.size, 0)
        self.present[self._leaving[:surplus]] = False
        self._leaving = self._leaving[surplus:]

    def __next__(self) -> list[Tensor]:
        places = self.present.nonzero().flatten()
        chosen = places[torch.randperm(len(places))[: self.batch_size]]
        return [column[chosen] for column in self.columns]
