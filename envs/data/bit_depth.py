"""Pixels of few bits: one-bit images are spikes, and a memory of them is a memory of spikes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from snn4.envs.data.pool import Pool
from snn4.envs.data.samples import Changed


def with_bit_depth(pool: Pool, bits: int, counts: bool) -> Pool:
    """The same samples with ``2^bits`` values per pixel; 8 bits change nothing. See `in_bits`."""
    if bits == 8:
        return pool
    coarse = partial(in_bits, bits=bits, counts=counts)
    mean, std = (pool.mean, pool.std) if counts else ((), ())  # coarse brightness has other moments
    return replace(pool, pixels=Changed(pool.pixels, coarse), moments=None, mean=mean, std=std)


def in_bits(x: Tensor, bits: int, counts: bool) -> Tensor:
    """Pixels (…), uint8, reduced to ``bits``.

    Brightness becomes the nearest of ``2^bits`` equidistant values from 0 to 255; for one bit these are 0 and 255.
    Counts of events are clipped at ``2^bits - 1``: one bit means any event or none.
    """
    return x.clamp_max(2**bits - 1) if counts else _nearest(bits)[x.int()]


@cache
def _nearest(bits: int) -> Tensor:
    """The nearest of ``2^bits`` values for each brightness (256,); cached because streams fetch images one by one."""
    highest = 2**bits - 1
    return ((torch.arange(256) / 255 * highest).round() / highest * 255).round().to(torch.uint8)
