"""Augmentation of images and event frames: each sample has its own draws, whatever batch it is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

AugmentationName = Literal["none", "crop", "flip", "flip_crop", "trivial", "resized_crop"]

AUGMENTATIONS = {
    "none": "samples as they are",
    "crop": "shifted by up to `pad` pixels; beyond the border, images are mirrored and events are 0",
    "flip": "mirrored left to right with probability 0.5",
    "flip_crop": "flip, then crop",
    "trivial": "flip, crop, then one operation of TrivialAugmentWide (Müller & Hutter 2021)",
    "resized_crop": "flip, then 8 % to 100 % of the area, at the full size (Szegedy et al. 2015); for large images",
}


@dataclass(frozen=True)
class Augmentation:
    """One of `AUGMENTATIONS` as a function: uint8 (B, C, H, W) and a random number per image (B,) -> the same shape.

    Flips, crops and erasing take their draws from the digits of these numbers and change the whole batch at once. The
    others are torchvision's v2 transforms, run image by image and seeded with the numbers. The global random state
    does not change.
    """

    name: AugmentationName
    pad: int = 0
    """Largest shift of a crop, pixels."""
    erase: int = 0
    """Side of a square in each image, pixels, that becomes ``colour`` (cutout, DeVries & Taylor 2017); 0: none."""
    border: Literal["reflect", "zero"] = "reflect"
    colour: tuple[int, ...] = (0,)
    """Colour of erased squares, one byte per channel."""
    alternate_flips: bool = False
    """Whether `Samples` mirrors each sample in every second epoch (Jordan 2024) instead of at random."""

    def __call__(self, x: Tensor, numbers: Tensor) -> Tensor:
        if self.name != "none":
            x = flip_crop(x, numbers, self._shift, flip=self.name != "crop", border=self.border)
        transform = self._transform(x.shape[-2:])
        x = x if transform is None else _one_by_one(transform, x, numbers)
        return erased(x, numbers, self.erase, self.colour) if self.erase else x

    def mirroring(self, numbers: Tensor, mirrored: Tensor) -> Tensor:
        """The same draws (B,) except for the flips: a sample is mirrored where ``mirrored`` (B,) is 1."""
        digit = (2 * self._shift + 1) ** 2  # the digits below are the shifts
        return numbers + digit * (mirrored - numbers // digit % 2)

    @property
    def _shift(self) -> int:
        return self.pad if self.name in ("crop", "flip_crop", "trivial") else 0

    def _transform(self, size: Sequence[int]) -> Callable[[Tensor], Tensor] | None:
        if self.name not in ("trivial", "resized_crop"):
            return None
        from torchvision.transforms import v2  # takes a second to import

        return v2.TrivialAugmentWide() if self.name == "trivial" else v2.RandomResizedCrop(list(size), antialias=True)


def flip_crop(
    x: Tensor, numbers: Tensor, pad: int, flip: bool = True, border: Literal["reflect", "zero"] = "reflect"
) -> Tensor:
    """Images (B, C, H, W) shifted by up to ``pad`` pixels in each direction and, with ``flip``, mirrored with
    probability 0.5. The draws are the digits of ``numbers`` (B,), uniform in 0 to 2^62.

    Equal to torchvision's RandomHorizontalFlip and RandomCrop(padding=pad) with these draws.
    """
    batch, channels, height, width = x.shape
    shifts = 2 * pad + 1
    top, numbers = numbers % shifts, numbers // shifts
    left, numbers = numbers % shifts, numbers // shifts
    rows = torch.arange(height) + top[:, None] - pad
    columns = torch.arange(width) + left[:, None] - pad
    inside = _inside(rows, height)[:, :, None] & _inside(columns, width)[:, None, :]
    rows, columns = _mirror(rows, height), _mirror(columns, width)
    if flip:
        columns = torch.where(numbers[:, None] % 2 == 1, width - 1 - columns, columns)
    source = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, -1)
    moved = x.reshape(batch, channels, -1).gather(2, source.expand(-1, channels, -1)).view(x.shape)
    return moved.mul_(inside[:, None]) if border == "zero" and pad else moved


def erased(x: Tensor, numbers: Tensor, side: int, colour: Sequence[int]) -> Tensor:
    """Images (B, C, H, W) with a square of ``side`` pixels in ``colour``, centred anywhere in the image."""
    height, width = x.shape[-2:]
    numbers = numbers >> 31  # other digits than those of flips and crops
    top, left = numbers % height - side // 2, numbers // height % width - side // 2
    rows, columns = torch.arange(height) - top[:, None], torch.arange(width) - left[:, None]
    hole = _inside(rows, side)[:, None, :, None] & _inside(columns, side)[:, None, None, :]
    return torch.where(hole, torch.tensor(colour, dtype=x.dtype)[:, None, None], x)


def _inside(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)


def _mirror(index: Tensor, size: int) -> Tensor:
    """Indices outside of 0 to size - 1, mirrored at the border pixel, which is not repeated."""
    return (size - 1) - ((size - 1) - index.abs()).abs()


def _one_by_one(transform: Callable[[Tensor], Tensor], x: Tensor, numbers: Tensor) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        changed = []
        for image, number in zip(x, numbers.tolist(), strict=True):
            torch.default_generator.manual_seed(number)  # torch.manual_seed would also seed the accelerators
            changed.append(transform(image))
    return torch.stack(changed)
