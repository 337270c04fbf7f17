"""Pixels of few bits: with one bit, an image is spikes, and a memory of images is a memory of spikes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from snn4.envs.data.pool import Pool
from snn4.envs.data.samples import Changed


def with_bit_depth(pool: Pool, bits: int, counts: bool) -> Pool:
    """The same samples in ``2^bits`` values a pixel, 8 are as they are; see `in_bits`."""
    if bits == 8:
        return pool
    coarse = partial(in_bits, bits=bits, counts=counts)
    known = (pool.mean, pool.std) if counts else ((), ())  # brightness is another by then
    return replace(pool, pixels=Changed(pool.pixels, coarse), moments=None, mean=known[0], std=known[1])


def in_bits(x: Tensor, bits: int, counts: bool) -> Tensor:
    """Pixels (…), uint8, that ``bits`` tell.

    Brightness becomes the nearest of ``2^bits`` equally distant values from 0 to 255, one bit's are 0 and 255. Counts
    of events above the highest that can be told, ``2^bits - 1``, become that one: one bit tells whether there was any.
    """
    return x.clamp_max(2**bits - 1) if counts else _nearest(bits)[x.int()]


@cache
def _nearest(bits: int) -> Tensor:
    """For each brightness the nearest one of ``2^bits`` (256,); streams ask for images one by one."""
    highest = 2**bits - 1
    return ((torch.arange(256) / 255 * highest).round() / highest * 255).round().to(torch.uint8)
