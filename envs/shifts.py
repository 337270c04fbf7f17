"""Domain shifts: the same classes with rearranged pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

ShiftName = Literal["none", "permute", "rotate"]


@dataclass(frozen=True)
class Shift:
    """The source of every pixel; applied to samples when they are used, so that no copy is kept."""

    name: str
    """For tables and plots."""
    source: Tensor
    """(H * W,) number of the source pixel, row by row."""
    visible: Tensor | None = None
    """(H * W,) whether a pixel has a source; others are 0. None: all have one."""

    def __call__(self, x: Tensor) -> Tensor:
        """Images or event frames (…, H, W) -> the same shape and type; channels and time steps move alike."""
        moved = x.flatten(-2).index_select(-1, self.source)
        return (moved if self.visible is None else moved.mul_(self.visible)).view(x.shape)


def shifts(name: ShiftName, n: int, size: tuple[int, int], seed: int = 0) -> list[Shift] | None:
    """The shift of each of ``n`` experiences with images of ``size`` (H, W); None for no shift.

    Permutations are drawn from ``seed`` in order, so that an experience has the same one for every ``n``.
    """
    if name == "none":
        return None
    if name == "rotate":
        return [_rotation(180 * i / n, size) for i in range(n)]
    random = np.random.RandomState(seed)  # the only generator whose numbers NumPy promises never to change
    unchanged = np.arange(size[0] * size[1])
    orders = [unchanged] + [random.permutation(len(unchanged)) for _ in range(n - 1)]
    names = ["not permuted"] + [f"permutation {i}" for i in range(1, n)]
    return [Shift(name_, torch.tensor(order)) for name_, order in zip(names, orders, strict=True)]


def _rotation(degrees: float, size: tuple[int, int]) -> Shift:
    """Counter-clockwise about the middle, with nearest-neighbour interpolation, as in torchvision's `rotate`."""
    from torchvision.transforms.v2 import functional  # takes a second to import

    numbers = torch.arange(size[0] * size[1], dtype=torch.float64).view(1, *size)
    source = functional.rotate(numbers, degrees, functional.InterpolationMode.NEAREST, fill=[-1.0]).flatten().long()
    return Shift(f"rotated {degrees:.3g}°", source.clamp_min(0), source >= 0)
