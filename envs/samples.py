"""Samples in memory, in batches that depend on nothing but seed, epoch and number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Samples:
    """Images (N, C, H, W), or events in bins (N, T, C, H, W), as bytes, with labels (N,) int64."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    """Of each channel, with pixels from 0 to 1; and ``std`` likewise."""
    std: Tensor
    augmentation: str = "none"
    pad: int = 0
    erase: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def n_batches(self, batch_size: int, drop_last: bool = False, world_size: int = 1) -> int:
        """Batches of an epoch, in each of ``world_size`` processes."""
        share = len(self) // world_size if drop_last else -(-len(self) // world_size)
        return share // batch_size if drop_last else -(-share // batch_size)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        epoch: int = 0,
        first: int = 0,
        augment: bool = False,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches x (B, C, H, W) or (T, B, C, H, W), normalised, and labels (B,).

        Order and augmentation follow from seed, epoch and the number of the batch: beginning with batch ``first`` gives
        what a whole epoch gives from there. Each process takes every ``world_size``-th sample; with ``drop_last`` all
        have equally many.

        Args:
            shuffle_seed: of order and augmentation; None goes in order.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: got {batch_size}, allowed is a whole number >= 1")
        order = torch.arange(len(self))
        if shuffle_seed is not None:
            order = torch.randperm(len(self), generator=_generator(shuffle_seed, epoch))
        mine = order[: len(self) // world_size * world_size if drop_last else None][rank::world_size]
        for number in range(first, self.n_batches(batch_size, drop_last, world_size)):
            chosen = mine[number * batch_size : (number + 1) * batch_size]
            x = self.images[chosen]
            if augment:
                x = self._augmented(x, _generator(shuffle_seed or 0, epoch, number, rank))
            if len(chosen):
                yield self._normalized(x), self.labels[chosen]

    def _normalized(self, x: Tensor) -> Tensor:
        x = (x.float() / 255 - self.mean[:, None, None]) / self.std[:, None, None]
        return x.transpose(0, 1).contiguous() if x.dim() == 5 else x

    def _augmented(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Each image shifted, mirrored and cut out by its own draw; all bins of a recording alike."""
        shape, x = x.shape, x.flatten(1, -3)
        b, (h, w) = len(x), x.shape[-2:]
        if "crop" in self.augmentation:
            padded = F.pad(x.float(), (self.pad,) * 4, mode="reflect").to(x.dtype)
            top, left = torch.randint(2 * self.pad + 1, (2, b, 1), generator=draw)
            rows, columns = top + torch.arange(h), left + torch.arange(w)
            x = padded[torch.arange(b)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        if "flip" in self.augmentation:
            x = torch.where((torch.rand(b, generator=draw) < 0.5)[:, None, None, None], x.flip(-1), x)
        if self.erase:
            top, left = (torch.rand(2, b, 1, generator=draw) * torch.tensor([h, w])[:, None, None]).long()
            tall = ((torch.arange(h) - top).abs() * 2 < self.erase)[:, None, :, None]
            wide = ((torch.arange(w) - left).abs() * 2 < self.erase)[:, None, None, :]
            middle = (self.mean * 255).to(x.dtype).repeat(x.shape[1] // len(self.mean))
            x = torch.where(tall & wide, middle[:, None, None], x)
        return x.reshape(shape)


def _generator(*entropy: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
