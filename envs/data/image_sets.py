"""Named image sets: scikit-learn's digits, and data sets that torchvision reads and downloads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn4.envs.data.downloads import require
from snn4.envs.data.image_folder import read_folder
from snn4.envs.data.pool import Pool
from snn4.envs.data.reading import OnError
from snn4.envs.data.splits import split_by_class


@dataclass(frozen=True)
class ImageSet:
    """A data set of torchvision."""

    class_name: str
    """In torchvision.datasets."""
    folder: str
    """The folder of the files, relative to the root of the class."""
    page: str
    """A web page with the files."""
    mean: tuple[float, ...]
    """Of each channel of the training set, in 0 to 1."""
    std: tuple[float, ...]


IMAGE_SETS = {
    "mnist": ImageSet("MNIST", "MNIST", "http://yann.lecun.com/exdb/mnist/", (0.1307,), (0.3081,)),
    "fashion-mnist": ImageSet(
        "FashionMNIST", "FashionMNIST", "https://github.com/zalandoresearch/fashion-mnist", (0.2860,), (0.3530,)
    ),
    "cifar10": ImageSet(
        "CIFAR10", "cifar-10-batches-py", "https://www.cs.toronto.edu/~kriz/cifar.html",
        (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616),
    ),
    "cifar100": ImageSet(
        "CIFAR100", "cifar-100-python", "https://www.cs.toronto.edu/~kriz/cifar.html",
        (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762),
    ),
}  # fmt: skip


def read_digits(size: int | None) -> Pool:
    """1,797 digits of 8 x 8 pixels, from scikit-learn; a fixed fifth is for testing."""
    from sklearn.datasets import load_digits  # takes most of a second to import

    values, targets = load_digits(return_X_y=True)
    pixels = torch.as_tensor(values * 255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
    labels = torch.as_tensor(targets, dtype=torch.int64)
    classes = [str(digit) for digit in range(10)]
    test, train = split_by_class(labels, round(len(labels) / 5), classes)
    return Pool(classes, resized(pixels, size), labels, train, test)


def read_images(name: str, root: Path, size: int | None, cache: Path, on_error: OnError, download: bool) -> Pool:
    """One of `IMAGE_SETS` in torchvision's layout; cifar100 also as cifar100/train/<class>/*.png and test/….

    Raises:
        ValueError: for damaged files; `MissingData` if there are none.
    """
    image_set = IMAGE_SETS[name]
    folder, pictures = root / image_set.folder, root / "cifar100"
    if name == "cifar100" and not folder.exists() and pictures.exists():
        pool = read_folder(name, pictures, size or 32, cache, on_error)
        if size in (None, 32):
            pool.mean, pool.std = image_set.mean, image_set.std
        return pool
    dataset = _torchvision_class(image_set)
    require(name, folder, image_set.page, (lambda place: _download(dataset, place)) if download else None)
    try:
        parts = [dataset(root, train=train) for train in (True, False)]
    except Exception as error:  # RuntimeError, and any error from reading damaged files
        raise ValueError(
            f"{folder} is incomplete or damaged ({type(error).__name__}: {error}); move it away to download it again"
        ) from error
    pixels = torch.cat([_channels_first(part.data) for part in parts])
    labels = torch.cat([torch.as_tensor(part.targets, dtype=torch.int64) for part in parts])
    train, test = torch.arange(len(pixels)).split([len(part.data) for part in parts])
    pool = Pool(list(parts[0].classes), resized(pixels, size), labels, train, test)
    if pool.pixels is pixels:  # resized pixels have other moments
        pool.mean, pool.std = image_set.mean, image_set.std
    return pool


def resized(pixels: Tensor, size: int | None) -> Tensor:
    """Images uint8 (N, C, H, W) scaled to ``size`` x ``size``; None keeps their size."""
    if size is None or pixels.shape[-2:] == (size, size):
        return pixels
    from torchvision.transforms import v2

    return torch.cat([v2.functional.resize(part, [size, size], antialias=True) for part in pixels.split(4096)])


def _torchvision_class(image_set: ImageSet) -> Any:
    from torchvision import datasets  # takes a second to import

    return getattr(datasets, image_set.class_name)


def _download(dataset: Any, place: Path) -> None:
    for train in (True, False):
        dataset(place, train=train, download=True)


def _channels_first(data: Tensor | np.ndarray) -> Tensor:
    """(N, C, H, W) from torchvision's (N, H, W) or (N, H, W, C)."""
    pixels = torch.as_tensor(data)
    return pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2).contiguous()
