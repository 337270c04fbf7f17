"""Pixels of few bits: with one bit, an image is spikes, and a memory of images is a memory of spikes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snn4.envs.pool import Pool
from snn4.envs.samples import Pixels


def with_bit_depth(pool: Pool, bits: int, counts: bool) -> Pool:
    """The same samples in ``2^bits`` values a pixel, 8 are as they are; see `in_bits`."""
    if bits == 8:
        return pool
    coarse = replace(pool, pixels=_InBits(pool.pixels, bits, counts), moments=None)
    return coarse if counts else replace(coarse, mean=(), std=())  # brightness is another by then


def in_bits(x: Tensor, bits: int, counts: bool) -> Tensor:
    """Pixels (…), uint8, that ``bits`` tell.

    Brightness becomes the nearest of ``2^bits`` equally distant values from 0 to 255, one bit's are 0 and 255. Counts
    of events above the highest that can be told, ``2^bits - 1``, become that one: one bit tells whether there was any.
    """
    highest = 2**bits - 1
    if counts:
        return x.clamp_max(highest)
    table = (torch.arange(256) / 255 * highest).round() / highest * 255
    return table.round().to(torch.uint8)[x.int()]


@dataclass(frozen=True)
class _InBits:
    """Pixels that are made coarse when they are asked for: the others may be a file, larger than the memory."""

    pixels: Pixels
    bits: int
    counts: bool

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        return in_bits(self.pixels[rows], self.bits, self.counts)

    def __len__(self) -> int:
        return len(self.pixels)
