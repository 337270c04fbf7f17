"""Images in folders named after their classes: ``train/<class>/…`` and ``test/<class>/…``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from snn4.envs.data.bit_depth import in_bits
from snn4.envs.data.downloads import MissingData
from snn4.envs.data.folders import Listing, files_below, folders_in, notes_on, some
from snn4.envs.data.pool import Pool, moments
from snn4.envs.data.reading import OnError, read_all
from snn4.envs.data.samples import Changed, Data, Samples

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""The extensions that torchvision reads."""
MEMORY = 1_000_000_000
"""Bytes up to which a data set is kept decoded; a larger one decodes each image when it is used."""
TRAIN = 0
VALIDATION = 1
TEST = 2


class ImageFiles:
    """Images that are decoded when they are used: rows (B,) -> uint8 (B, 3, size, size)."""

    def __init__(self, files: Sequence[Path], size: int) -> None:
        self.files, self.size = np.array([str(file) for file in files]), size  # processes can share an array

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return torch.stack([decode(Path(file), self.size) for file in self.files[rows.numpy()]])


def read_folder(name: str, folder: Path, size: int, cache: Path, on_error: OnError) -> Pool:
    """All images below ``folder`` as RGB, ``size`` x ``size`` pixels; test/ is the test part, or val/ without test/.

    If both exist, val/ is the validation part. The first call decodes each image once, to find damaged images and the
    channels' moments. It caches the result in the folder ``cache``, including the pixels if they fit in `MEMORY`.

    Raises:
        ValueError: for a class without images, a class missing in one part, and images that cannot be read.
        MissingData: for a missing folder.
    """
    parts = _parts(name, folder)
    folders = [folders_in(part) for part in parts.values()]
    classes = _classes(list(parts.values()), folders)
    places = [(part, label) for part in parts for label in range(len(classes))]
    listings = [files_below(parts[part] / classes[label], EXTENSIONS) for part, label in places]
    left_out = notes_on([*folders, *listings])
    _require_images([parts[part] / classes[label] for part, label in places], listings, left_out)
    files = [file for listing in listings for file in listing.found]
    counts = torch.tensor([len(listing.found) for listing in listings])
    part_of, labels = (torch.tensor(numbers).repeat_interleave(counts) for numbers in zip(*places, strict=True))
    fits = len(files) * 3 * size**2 <= MEMORY
    settings = f"{size} {'pixels' if fits else 'moments'}"
    key = hashlib.sha256(f"{folder} {settings}".encode()).hexdigest()[:12]
    result, rows, notes = read_all(
        files, partial(decode if fits else _moments, size=size), cache / f"{name}-{key}.safetensors", on_error, settings
    )
    pixels = result if fits else ImageFiles([files[row] for row in rows.tolist()], size)
    train, validation, test = ((part_of[rows] == part).nonzero().flatten() for part in (TRAIN, VALIDATION, TEST))
    return Pool(
        classes, pixels, labels[rows], train, test, validation if VALIDATION in parts else None,
        moments=None if fits else result, notes=[*left_out, *notes],
    )  # fmt: skip


def in_grey(data: Data, mean: tuple[float, ...], std: tuple[float, ...], bits: int = 8) -> Data:
    """The luminance of 8-bit colour images in ``bits``, for networks trained on grey images.

    Args:
        data: images of three channels.
        mean, std: of the grey channel in training, in 0 to 1.
        bits: per grey pixel, as in `in_bits`.
    """

    pixels = Changed(data.train.pixels, partial(_grey, bits=bits))  # shared by all parts

    def grey(part: Samples) -> Samples:
        labels = torch.zeros(len(pixels), dtype=torch.int64).index_copy(0, part.rows, part.labels)
        return Samples(pixels, labels, part.rows, mean, std, part.augmentation)

    train, validation, test = map(grey, (data.train, data.validation, data.test))
    return replace(data, in_channels=1, mean=mean, std=std, train=train, validation=validation, test=test)


def _grey(x: Tensor, bits: int) -> Tensor:
    return in_bits(_luminance(x), bits, counts=False)


def _luminance(x: Tensor) -> Tensor:
    """RGB (B, 3, H, W), uint8, as (B, 1, H, W): ITU-R 601 in Pillow's integer arithmetic, which keeps grey."""
    shares = torch.tensor([19595, 38470, 7471]).view(3, 1, 1)  # of 2^16
    return ((x.int() * shares).sum(1, keepdim=True) + 2**15 >> 16).to(torch.uint8)


def class_names(name: str, folder: Path) -> list[str]:
    """Names of the classes in the order of their numbers, without reading an image; same errors as `read_folder`."""
    parts = list(_parts(name, folder).values())
    return _classes(parts, [folders_in(part) for part in parts])


def decode(file: Path, size: int) -> Tensor:
    """The largest central square of an image, scaled, as RGB: uint8 (3, size, size).

    Raises:
        ValueError: for 32-bit values, whose range is unknown.
        Exception: any that Pillow raises for a damaged image.
    """
    with Image.open(file) as stored:
        deep = stored.mode.startswith("I;16") or (stored.mode == "I" and stored.format in ("PNG", "PPM"))
        if stored.mode in ("I", "F") and not deep:
            raise ValueError(
                f"got values of 32 bits (Pillow's mode {stored.mode}), allowed are 8 or 16 bits per channel"
            )
        # Pillow would clip 16-bit values at 255.
        image = Image.fromarray((np.asarray(stored) >> 8).astype(np.uint8)) if deep else stored
        rgb = image.convert("RGB")
    square = rgb if rgb.size == (size, size) else ImageOps.fit(rgb, (size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def _moments(file: Path, size: int) -> Tensor:
    return moments(decode(file, size))


def _parts(name: str, folder: Path) -> dict[int, Path]:
    """Folders of the existing parts."""
    train = folder / "train"
    validation = folder / "val"
    test = folder / "test"
    if not train.is_dir() or not (validation.is_dir() or test.is_dir()):
        raise MissingData(
            f"{name}: {folder} has no train/<class>/… and test/<class>/… (or val/<class>/…); set data.folder "
            "(evaluate: --data) to the right folder, below data.root (or environment variable SNN4_DATA) or absolute"
        )
    if not test.is_dir():
        return {TRAIN: train, TEST: validation}
    return {TRAIN: train, VALIDATION: validation, TEST: test} if validation.is_dir() else {TRAIN: train, TEST: test}


def _classes(parts: list[Path], listings: list[Listing]) -> list[str]:
    """Names of the class folders, the same in each part."""
    folders = {folder for listing in listings for folder in listing.found}
    classes = sorted({folder.name for folder in folders})
    if not classes:
        raise ValueError(f"classes: got no folder in {parts[0]}, allowed is one per class")
    missing = [str(part / class_) for part in parts for class_ in classes if part / class_ not in folders]
    if missing:
        raise ValueError(f"classes: got no folder {some(missing)}, allowed are the same folders in each part")
    return classes


def _require_images(folders: list[Path], listings: list[Listing], left_out: list[str]) -> None:
    empty = [str(folder) for folder, listing in zip(folders, listings, strict=True) if not listing.found]
    if empty:
        problem = f"classes: got no image ({' '.join(EXTENSIONS)}) in {some(empty)}, allowed is one or more per class"
        raise ValueError("; ".join([problem, *left_out]))
