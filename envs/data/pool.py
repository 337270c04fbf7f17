"""All samples of a data set, before the split."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from snn4.envs.data.samples import Pixels


@dataclass
class Pool:
    """Pixels and labels of a whole data set, with the official rows for training and testing.

    Raises:
        ValueError: for a label that is no class, different numbers of labels and samples, and a class without samples
            in one of the parts.
    """

    classes: list[str]
    pixels: Pixels
    labels: Tensor
    """(N,) int64."""
    train: Tensor
    """Rows for training."""
    test: Tensor
    """Rows for testing."""
    validation: Tensor | None = None
    """Rows for validation; None if the data set has no official ones."""
    moments: Tensor | None = None
    """`moments` of each row, if reading the pixels again would be expensive."""
    mean: tuple[float, ...] = ()
    """Of each channel; empty if it is still to be computed."""
    std: tuple[float, ...] = ()
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.pixels):
            raise ValueError(f"labels: got {len(self.labels)}, allowed are {len(self.pixels)}, one per sample")
        wrong = ((self.labels < 0) | (self.labels >= len(self.classes))).nonzero().flatten()
        if len(wrong):
            first = int(wrong[0])
            raise ValueError(
                f"labels: got {int(self.labels[first])} for sample {first} ({len(wrong)} of {len(self.labels)} samples "
                f"are wrong), allowed are 0 to {len(self.classes) - 1}"
            )
        for part in ("train", "validation", "test"):
            self._check_classes(part, getattr(self, part))

    def normalization(self, rows: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel: the official values, or those of ``rows``."""
        if self.mean:
            return self.mean, self.std
        moments_of_rows = torch.cat([self._moments(part) for part in rows.split(1000)])
        mean, square = moments_of_rows.mean(0)
        std = (square - mean**2).clamp_min(0).sqrt()
        return tuple(mean.tolist()), tuple(std.clamp_min(1 / 255).tolist())  # a constant channel stays finite

    def _check_classes(self, part: str, rows: Tensor | None) -> None:
        if rows is None:
            return
        counts = torch.bincount(self.labels[rows], minlength=len(self.classes)).tolist()
        missing = [name for name, count in zip(self.classes, counts, strict=True) if count == 0]
        if missing:
            problem = f"classes: got no sample of {', '.join(missing)} in {part}, allowed is one or more of each"
            raise ValueError("; ".join([problem, *self.notes]))  # all files of a class may have been left out

    def _moments(self, rows: Tensor) -> Tensor:
        return moments(self.pixels[rows]) if self.moments is None else self.moments[rows]


def moments(pixels: Tensor) -> Tensor:
    """Mean and mean square (…, 2, C) of each channel, in 0 to 1, of images (…, C, H, W)."""
    x = pixels.float().div_(255).flatten(-2)
    return torch.stack([x.mean(-1), x.square().mean(-1)], -2).double()
