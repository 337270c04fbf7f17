"""Recordings of event cameras as tonic lays them out on the disk and reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snn4.envs.data.downloads import require
from snn4.envs.data.folders import Listing, files_below, notes_on
from snn4.envs.data.splits import split_by_class

Label = Callable[[Path, Sequence[str]], int]
"""The class of a file, as tonic tells it by names; ValueError where it cannot."""


def _of_digit(file: Path, classes: Sequence[str]) -> int:
    return int(file.parent.name[-1])


def _of_gesture(file: Path, classes: Sequence[str]) -> int:
    if not re.fullmatch(r"user\d+_.*", file.parent.name):
        raise ValueError(f"{file.parent} is no user<number>_<lighting>")
    return int(file.stem)


def _of_class(file: Path, classes: Sequence[str]) -> int:
    return classes.index(file.parent.name)


@dataclass(frozen=True)
class EventSet:
    """What there is to know of a data set of tonic's."""

    theirs: str
    """Name of the class in tonic.datasets, and of the folder below the root that it keeps its files in."""
    side: int
    """Width and height of the sensor, pixels."""
    n_recordings: int
    """In the official data set."""
    page: str
    """Where a human finds the files that tonic reads."""
    ending: str
    """Of a file of events."""
    label: Label
    parts: tuple[str, ...]
    """Folders for training and for testing, or one for both, of which a tenth of each class, always the same, is for
    testing."""
    bytes_an_event: int = 1
    """A file whose size is no multiple of this was cut off."""

    @property
    def has_test(self) -> bool:
        return len(self.parts) > 1


_FIGSHARE = "https://figshare.com/ndownloader/files"
EVENT_SETS = {
    "nmnist": EventSet(
        "NMNIST", 34, 70_000, "https://www.garrickorchard.com/datasets/n-mnist", ".bin", _of_digit, ("Train", "Test"), 5
    ),
    "dvs128-gesture": EventSet(
        "DVSGesture", 128, 1_341, f"{_FIGSHARE}/38022171 and {_FIGSHARE}/38020584", ".npy", _of_gesture,
        ("ibmGestureTrain", "ibmGestureTest"),
    ),
    "cifar10-dvs": EventSet(
        "CIFAR10DVS", 128, 10_000, f"{_FIGSHARE}/38023437", ".aedat4", _of_class, ("",)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """One file of events."""

    file: Path
    label: int
    is_test: bool
    events: Callable[[], np.ndarray]
    """Reads them: a structured array with x, y, p and t in microseconds."""


def find_recordings(name: str, root: Path, download: bool) -> tuple[list[Recording], list[str], list[str]]:
    """Recordings of one of `EVENT_SETS`, in the order of their paths, those for training first; the names of the
    classes; notes on what was left out.

    A folder in tonic's layout with fewer recordings than the official data set is fine.

    Raises:
        ValueError: for a file that belongs to no class, or a class without files; `MissingData` where there are none.
        ImportError: without tonic.
    """
    known, theirs = EVENT_SETS[name], _theirs(name)
    folder, classes = root / known.theirs, list(theirs.classes)
    require(name, folder, known.page, partial(_download, theirs, known.has_test) if download else None)
    listings = [files_below(folder / part, (known.ending,)) for part in known.parts]
    parts = zip(listings, (False, True), strict=False)  # the second tests
    found = [x for listing, is_test in parts for x in _recordings(theirs, known.label, folder, listing, is_test)]
    _check(found, classes, folder, known.has_test)
    return (found if known.has_test else _with_test(found, classes)), classes, notes_on(listings)


def _theirs(name: str) -> Any:
    """tonic's class."""
    try:
        from tonic import datasets
    except ImportError as error:
        raise ImportError("events are read by tonic: pip install 'snn4-agent[events]'") from error
    if name == "cifar10-dvs" and find_spec("aedat") is None:
        raise ImportError("recordings of cifar10-dvs are read by aedat: pip install aedat")
    return getattr(datasets, EVENT_SETS[name].theirs)


def _download(theirs: Any, has_test: bool, place: Path) -> None:
    for part in [{"train": True}, {"train": False}] if has_test else [{}]:
        theirs(str(place), **part)


def _recordings(theirs: Any, label: Label, folder: Path, listing: Listing, is_test: bool) -> list[Recording]:
    # tonic's own list has hidden files too, and stops at hidden folders. So it finds nothing, and reads ours.
    local = type(theirs.__name__, (theirs,), {"_check_exists": lambda self: True})(os.devnull)
    files, classes = sorted(listing.found, key=str), list(theirs.classes)
    try:
        labels = [label(file, classes) for file in files]
    except ValueError as error:
        raise ValueError(
            f"{folder}: a file or folder in it is not named after a class or user as in "
            f"tonic.datasets.{theirs.__name__}: {error}"
        ) from error
    local.data, local.targets = list(map(str, files)), labels
    return [Recording(file, labels[n], is_test, partial(_events, local, n)) for n, file in enumerate(files)]


def _events(recordings: Any, index: int) -> np.ndarray:
    return recordings[index][0]  # type: ignore[no-any-return]


def _check(found: list[Recording], classes: list[str], folder: Path, has_test: bool) -> None:
    for recording in found:
        if not 0 <= recording.label < len(classes):
            raise ValueError(f"labels: got {recording.label} for {recording.file}, allowed are 0 to {len(classes) - 1}")
    for is_test in (False, True) if has_test else (False,):
        there = {recording.label for recording in found if recording.is_test == is_test}
        lack = [name for label, name in enumerate(classes) if label not in there]
        if lack:
            raise ValueError(
                f"classes: got no recording for {'testing' if is_test else 'training'} of {', '.join(lack)} in "
                f"{folder}, allowed is one or more of each"
            )


def _with_test(found: list[Recording], classes: list[str]) -> list[Recording]:
    labels = torch.tensor([recording.label for recording in found])
    test, train = split_by_class(labels, max(round(len(found) / 10), len(classes)), classes)
    return [found[row] for row in train.tolist()] + [replace(found[row], is_test=True) for row in test.tolist()]
