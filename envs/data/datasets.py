"""Data sets of images and event-camera recordings, split for training, validation and testing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from snn4.envs.data.augmentation import AUGMENTATIONS, Augmentation, AugmentationName
from snn4.envs.data.bit_depth import with_bit_depth
from snn4.envs.data.downloads import MissingData as MissingData
from snn4.envs.data.downloads import data_cache, data_root
from snn4.envs.data.events import Binning, read_events
from snn4.envs.data.image_folder import class_names, read_folder
from snn4.envs.data.image_sets import IMAGE_SETS, read_digits, read_images
from snn4.envs.data.pool import Pool
from snn4.envs.data.reading import OnError
from snn4.envs.data.recordings import EVENT_SETS
from snn4.envs.data.samples import Data as Data
from snn4.envs.data.samples import Samples as Samples
from snn4.envs.data.splits import fair_order, split_by_class, split_in_folds

DATASETS = {
    "digits": "1,797 handwritten digits, 8 x 8, grey; part of scikit-learn",
    "mnist": "70,000 handwritten digits, 28 x 28, grey",
    "fashion-mnist": "70,000 pieces of clothing, 28 x 28, grey",
    "cifar10": "60,000 photographs, 32 x 32, 10 classes",
    "cifar100": "60,000 photographs, 32 x 32, 100 classes",
    "imagefolder": "any images in folders named after their classes, such as a part of ImageNet",
    "nmnist": "MNIST recorded by a moving event camera, 34 x 34",
    "dvs128-gesture": "11 hand and arm gestures recorded by an event camera, 128 x 128",
    "cifar10-dvs": "10,000 images of CIFAR-10 recorded by an event camera, 128 x 128; a tenth is for testing",
}
"""All data sets, by name."""

UNMIRRORED = ("digits", "mnist", "nmnist", "dvs128-gesture")
"""Data sets in which mirroring changes the class: digits, left and right arms."""

_WHOLE_NUMBERS = {"image_size": (1, 4096), "bins": (1, 10_000), "limit": (1, 10**9), "pad": (0, 4096),
                  "erase": (0, 4096), "folds": (2, 10_000)}  # fmt: skip
"""Smallest and largest value of each setting."""


@dataclass(frozen=True)
class DataConfig:
    """A data set, its split, and how its samples reach a network."""

    name: str = "digits"
    """One of `DATASETS`."""
    root: str | None = None
    """Folder of all data sets. None: the environment variable SNN4_DATA, or a folder in the user's cache if unset."""
    folder: str | None = None
    """imagefolder: the folder with train/<class>/… and test/<class>/… (or val/<class>/…), below root or absolute."""
    image_size: int | None = None
    """Height and width, pixels. None keeps the size of the data set; for imagefolder it means 64. imagefolder scales
    the largest central square of an image; events are counted in larger pixels."""
    validation: float = 0.1
    """Fraction of the training set held out for validation, stratified by class; the split never changes. A folder with
    train/, val/ and test/ is already split."""
    mean: tuple[float, ...] | None = None
    """Value subtracted from each channel, in 0 to 1 (events: counts). None: the mean of the training set. Pretrained
    weights need the values that they were trained with."""
    std: tuple[float, ...] | None = None
    """Value that each channel is then divided by; set it together with ``mean``."""
    bit_depth: int = 8
    """Bits per pixel. 1 turns pixels into spikes: black or white (events: any event or none). The memory of a continual
    learner stores as many bits. Augmentation comes afterwards and may add other values, such as a grey square."""
    augmentation: AugmentationName = "none"
    """Augmentation of training samples, one of `AUGMENTATIONS`; events and digits allow fewer."""
    pad: int | None = None
    """Largest shift of a random crop, pixels. None: an eighth of the side, 4 at 32 x 32."""
    alternate_flips: bool = False
    """Mirror each sample in every second epoch instead of at random, so that two consecutive epochs show it both ways
    (Jordan 2024)."""
    erase: int = 0
    """Side of a square, pixels, set to the mean in each training sample (cutout, DeVries & Taylor 2017); 0: none."""
    bins: int = 4
    """Events: number of frames (T) per recording."""
    binning: Binning = "time"
    """Events: frames of equal duration (time), or with equal numbers of events (count)."""
    on_error: OnError = "stop"
    """What to do if files cannot be read: stop with an error that names them, or skip them with a note."""
    folds: int | None = None
    """Cross-validation: number of equal parts of all samples; one part is for testing."""
    fold: int = 0
    """Cross-validation: the part for testing, from 0."""
    limit: int | None = None
    """Largest number of training samples, stratified by class: for quick trials."""
    download: bool = True
    """Whether missing data may be downloaded."""

    def __post_init__(self) -> None:
        if self.name not in DATASETS:
            near = get_close_matches(self.name, DATASETS, n=1)
            hint = f"did you mean {near[0]}? Allowed" if near else "allowed"
            raise ValueError(f"name: got {self.name!r}, {hint} are {', '.join(DATASETS)}")
        for field, kind in (("binning", Binning), ("on_error", OnError), ("augmentation", AugmentationName)):
            if getattr(self, field) not in get_args(kind):
                raise ValueError(f"{field}: got {getattr(self, field)!r}, allowed are {', '.join(get_args(kind))}")
        if self.augmentation not in self.augmentations:
            allowed = ", ".join(self.augmentations)
            raise ValueError(f"augmentation: got {self.augmentation}, allowed for {self.name} are {allowed}")
        if self.alternate_flips and self.augmentation in ("none", "crop"):
            flips = [name for name in self.augmentations if name not in ("none", "crop")]
            remedy = (
                f"augmentation: {', '.join(flips[:-1])} or {flips[-1]}"
                if flips
                else f"alternate_flips: false for {self.name}"
            )
            raise ValueError(
                f"augmentation: {self.augmentation} is not allowed with alternate_flips: true; set {remedy}"
            )
        if (self.folder is None) == (self.name == "imagefolder"):
            allowed = "the folder of the images" if self.folder is None else f"None for {self.name}"
            raise ValueError(f"folder: got {self.folder}, allowed is {allowed}")
        self._check_split()
        self._check_scaling()

    def _check_split(self) -> None:
        if not 0 < self.validation < 1:
            raise ValueError(f"validation: got {self.validation}, allowed is a fraction above 0 and below 1")
        for field, (least, most) in _WHOLE_NUMBERS.items():
            value = getattr(self, field)
            if value is not None and not least <= value <= most:
                null = "null or " if field == "folds" else ""
                allowed = f"{null}a whole number >= {least} and <= {most:,}"
                raise ValueError(f"{field}: got {value}, allowed is {allowed}")
        if not 0 <= self.fold < (self.folds or 1):
            raise ValueError(f"fold: got {self.fold}, allowed is 0 to {(self.folds or 1) - 1}, one below folds")

    def _check_scaling(self) -> None:
        if not 1 <= self.bit_depth <= 8:
            raise ValueError(f"bit_depth: got {self.bit_depth}, allowed is a whole number from 1 to 8")
        if len(self.mean or ()) != len(self.std or ()):
            raise ValueError(f"std: got {self.std}, allowed are as many numbers as in mean, {self.mean}")
        most = 255 if self.is_events else 1
        if not all(0 <= value <= most for value in self.mean or ()):
            raise ValueError(f"mean: got {self.mean}, allowed are numbers from 0 to {most}")
        if not all(0 < value < math.inf for value in self.std or ()):
            raise ValueError(f"std: got {self.std}, allowed are finite numbers > 0")

    @property
    def is_events(self) -> bool:
        return self.name in EVENT_SETS

    @property
    def augmentations(self) -> tuple[str, ...]:
        """Augmentations that preserve the classes of this data set."""
        if self.name in UNMIRRORED:
            return ("none", "crop")
        return ("none", "crop", "flip", "flip_crop") if self.is_events else tuple(AUGMENTATIONS)


def load_data(config: DataConfig) -> Data:
    """The data set in three parts; missing data is downloaded.

    With ``config.folds``, all samples are split again: one fold is for testing; `validation` is held out of the others.

    Raises:
        MissingData: for missing files that cannot be downloaded; the message says how to get them.
        ValueError: for damaged files, empty classes, and numbers that do not fit the data.
        ImportError: for events, without tonic.
    """
    pool = with_bit_depth(_pool(config), config.bit_depth, counts=config.is_events)
    train = pool.train
    validation = pool.validation
    test = pool.test
    if config.folds is not None:
        parts = split_in_folds(pool.labels, config.folds, pool.classes)
        test, validation = parts.pop(config.fold), None
        train = torch.cat(parts).sort().values
    if validation is None:
        validation, train = _hold_out(config, pool, train)
    return _data(config, pool, train, validation, test)


def count_classes(config: DataConfig) -> int:
    """The number of classes, without reading a sample; only imagefolder looks at the files."""
    if config.name == "imagefolder":
        return len(class_names(config.name, folder_of(config)))
    return {"cifar100": 100, "dvs128-gesture": 11}.get(config.name, 10)


def folder_of(config: DataConfig) -> Path:
    """The folder with the images of an imagefolder."""
    assert config.folder is not None  # DataConfig requires it
    return data_root(config.root) / Path(config.folder).expanduser()


def _pool(config: DataConfig) -> Pool:
    root, size = data_root(config.root), config.image_size
    cache = data_cache(config.root)
    if config.name == "digits":
        return read_digits(size)
    if config.name in IMAGE_SETS:
        return read_images(config.name, root, size, cache, config.on_error, config.download)
    if config.is_events:
        return read_events(
            config.name, root, config.bins, config.binning, size, cache, config.on_error, config.download
        )
    return read_folder(config.name, folder_of(config), size or 64, cache, config.on_error)


def _hold_out(config: DataConfig, pool: Pool, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows for validation, and the remaining rows."""
    n, least = round(config.validation * len(rows)), len(pool.classes)
    n = max(min(n, len(rows) - least), least)  # both parts have a sample of each class
    validation, train = split_by_class(pool.labels[rows], n, pool.classes)
    return rows[validation], rows[train]


def _data(config: DataConfig, pool: Pool, train: Tensor, validation: Tensor, test: Tensor) -> Data:
    *_, channels, height, width = pool.pixels[test[:1]].shape
    mean, std = pool.normalization(train) if config.mean is None else (config.mean, config.std or ())
    if len(mean) != channels:
        raise ValueError(f"mean: got {len(mean)} numbers, allowed are {channels}, one per channel")
    train = _limited(config.limit, pool, train)
    pad = min(height, width) // 8 if config.pad is None else config.pad
    if pad >= min(height, width):
        raise ValueError(f"pad: got {pad}, allowed is less than the images' side, {min(height, width)}")
    augmentation = Augmentation(
        config.augmentation, pad, config.erase, "zero" if config.is_events else "reflect",
        (0,) if config.is_events else tuple(round(255 * value) for value in mean), config.alternate_flips,
    )  # fmt: skip
    part = partial(
        Samples, pool.pixels, pool.labels, mean=mean, std=std, augmentation=augmentation, is_events=config.is_events
    )
    return Data(
        name=config.name, classes=pool.classes, in_channels=channels, image_size=(height, width),
        is_events=config.is_events, mean=mean, std=std, notes=pool.notes,
        train=part(train), validation=part(validation), test=part(test),
    )  # fmt: skip


def _limited(limit: int | None, pool: Pool, rows: Tensor) -> Tensor:
    if limit is None or limit >= len(rows):
        return rows
    if limit < len(pool.classes):
        raise ValueError(f"limit: got {limit}, allowed are {len(pool.classes)} or more: one sample per class")
    return rows[fair_order(pool.labels[rows])[:limit].sort().values]
