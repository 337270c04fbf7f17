"""Parts of ER-ACE (Caccia et al. 2022): the loss, and a memory that knows only what was already learned from."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snn4.learners.continual.experiences import columns


def asymmetric_cross_entropy(new: Tensor, labels: Tensor, old: Tensor, old_labels: Tensor) -> Tensor:
    """Mean of the cross entropies of replayed samples, over all classes, and of new ones, over those among them alone.

    Avalanche's is the same up to a difference of about 100 between two scores, and beyond infinite or not a number.

    Args:
        new: scores (B, classes) of a mini-batch.
        labels: of these samples (B,).
        old: scores (M, classes) of samples out of the memory.
        old_labels: of these samples (M,).
    """
    met, places = labels.unique(return_inverse=True)
    return (F.cross_entropy(old, old_labels) + F.cross_entropy(new[:, met], places)) / 2


class Arriving:
    """Random samples out of a memory into which those of an experience come one by one, as they are learned from.

    Each that comes takes the place of one that will be gone at the end of the experience.

    Args:
        before: what the memory holds when the experience begins: a dataset of Avalanche's.
        after: what it will hold at the end.
        size: samples that it has room for.
        batch_size: samples that are drawn at a time, all different; all there are, where there are fewer.
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
        """Take in those of these samples (B,) that are to stay."""
        self.present[: self._staying] |= torch.isin(self.columns[0][: self._staying], numbers.cpu())
        surplus = max(int(self.present.sum()) - self.size, 0)
        self.present[self._leaving[:surplus]] = False
        self._leaving = self._leaving[surplus:]

    def __next__(self) -> list[Tensor]:
        places = self.present.nonzero().flatten()
        chosen = places[torch.randperm(len(places))[: self.batch_size]]
        return [column[chosen] for column in self.columns]
