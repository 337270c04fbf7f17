"""Images to classify: scikit-learn's digits, torchvision's sets, any ImageFolder, as train, validation and test."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from snn4.envs.samples import Samples

SETS: dict[str, str] = {
    "digits": "", "mnist": "MNIST", "fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100",
}  # fmt: skip
"""Data sets by name, and torchvision's class for them."""
STATISTICS = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
"""Mean and standard deviation of each channel over the training images, with pixels from 0 to 1."""
_SPLIT_SEED = 20_240_517  # the split is part of the data: the same for every run


class MissingData(ValueError):
    """A data set is neither here nor to be had."""


@dataclass(frozen=True)
class DataConfig:
    """Which data, where, and how they are split and changed."""

    name: str = "digits"
    """One of `SETS`."""
    root: str | None = None
    """Folder of data sets, in torchvision's layouts; None takes the environment variable SNN4_DATA, else
    ``~/.cache/snn4-agent``."""
    validation: float = 0.1
    """Part of the training set that is held out to select on; the same samples for every seed."""
    augmentation: Literal["none", "crop", "flip", "flip_crop"] = "none"
    """Of training images: crop shifts by up to ``pad`` pixels, flip mirrors half of them."""
    pad: int = 4
    """Pixels by which crop shifts at most; what comes in is the image's own border, mirrored."""
    erase: int = 0
    """Side of a square in each training image that is set to the mean (cutout, DeVries & Taylor 2017); 0 is none."""
    limit: int | None = None
    """Only so many training samples, evenly from all classes."""
    download: bool = True
    """Fetch what is missing, where there is a network."""

    def __post_init__(self) -> None:
        if self.name not in SETS:
            raise ValueError(f"name: got {self.name!r}, allowed are {', '.join(SETS)}")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation: got {self.validation}, allowed is a part between 0 and 1")
        if self.augmentation not in ("none", "crop", "flip", "flip_crop"):
            raise ValueError(f"augmentation: got {self.augmentation!r}, allowed are none, crop, flip, flip_crop")
        for name in ("pad", "erase"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a whole number >= 0")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit: got {self.limit}, allowed is null or a whole number >= 1")

    @property
    def folder(self) -> Path:
        """The folder of data sets."""
        return Path(self.root or os.environ.get("SNN4_DATA") or "~/.cache/snn4-agent").expanduser()


@dataclass(frozen=True)
class Data:
    """A data set in three parts: selection is done on validation, test is used once."""

    name: str
    classes: tuple[str, ...]
    in_channels: int
    image_size: tuple[int, int]
    train: Samples
    validation: Samples
    test: Samples
    notes: list[str] = field(default_factory=list)
    """What a reader should know, as files that were left out."""


def load_data(config: DataConfig) -> Data:
    """Read the data set.

    Raises:
        MissingData: it is not there and cannot be fetched: says where it was looked for and how to get it.
        ValueError: ``limit`` leaves a class without samples.
    """
    images, labels, test_images, test_labels, classes = _digits() if config.name == "digits" else _torchvision(config)
    held_out = stratified(labels, config.validation)
    kept = ~held_out
    if config.limit is not None:
        if config.limit < len(classes):
            raise ValueError(f"limit: got {config.limit}, allowed is at least one for each of {len(classes)} classes")
        kept[kept.nonzero()[:, 0][~stratified(labels[kept], config.limit / int(kept.sum()))]] = False
    scaled = images[kept].float().div_(255)
    mean, std = STATISTICS.get(config.name) or (scaled.mean((0, 2, 3)).tolist(), scaled.std((0, 2, 3)).tolist())

    def samples(x: Tensor, y: Tensor, augment: bool = False) -> Samples:
        changes = (config.augmentation, config.pad, config.erase) if augment else ("none", 0, 0)
        return Samples(x.contiguous(), y, torch.tensor(mean), torch.tensor(std), *changes)

    return Data(
        config.name, classes, images.shape[1], (images.shape[2], images.shape[3]),
        samples(images[kept], labels[kept], augment=True),
        samples(images[held_out], labels[held_out]),
        samples(test_images, test_labels),
    )  # fmt: skip


def stratified(labels: Tensor, part: float) -> Tensor:
    """A mask of ``part`` of the samples (at least one), of each class alike; always the same for the same labels."""
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    draw = torch.Generator().manual_seed(_SPLIT_SEED)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        number = max(1, round(part * len(members)))
        chosen[members[torch.randperm(len(members), generator=draw)[:number]]] = True
    return chosen


_Parts = tuple[Tensor, Tensor, Tensor, Tensor, tuple[str, ...]]
"""Training images (N, C, H, W) as bytes and labels (N,), the same for test, names of classes."""


def _digits() -> _Parts:
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.from_numpy((raw.images * (255 / 16)).round().astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(raw.target.astype(np.int64))
    test = stratified(labels, 0.2)
    return images[~test], labels[~test], images[test], labels[test], tuple(map(str, range(10)))


def _torchvision(config: DataConfig) -> _Parts:
    from torchvision import datasets

    kind = getattr(datasets, SETS[config.name])
    parts: list[Tensor] = []
    for train in (True, False):
        found = _found(config, kind, train)
        images = torch.as_tensor(found.data)
        parts.append(images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2))
        parts.append(torch.as_tensor(found.targets, dtype=torch.int64))
    return *parts, tuple(found.classes)  # type: ignore[return-value]


def _found(config: DataConfig, kind: type, train: bool) -> object:
    """torchvision's data set, fetched if need be."""
    try:
        return kind(config.folder, train=train)
    except RuntimeError as error:  # not there, or altered
        reason = str(error)
    if config.download:
        try:
            return kind(config.folder, train=train, download=True)
        except (RuntimeError, OSError) as error:
            reason = f"it could not be downloaded ({error})"
    raise MissingData(
        f"data: {config.name} was looked for in {config.folder}, in torchvision's layout ({SETS[config.name]}): "
        f"{' '.join(reason.split())}; name the folder that holds it by data.root=… or SNN4_DATA=…, or copy it there "
        f"from a machine where torchvision.datasets.{SETS[config.name]}(root, download=True) has run"
    )
