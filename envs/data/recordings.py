"""Recordings of event cameras, in tonic's layout and read by tonic."""

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
"""The class of a file, from names as in tonic; ValueError if names do not match."""


def _of_digit(file: Path, classes: Sequence[str]) -> int:
    return int(file.parent.name[-1])


def _of_gesture(file: Path, classes: Sequence[str]) -> int:
    if not re.fullmatch(r"user\d+_.*", file.parent.name):
        raise ValueError(f"{file.parent} is not named user<number>_<lighting>")
    return int(file.stem)


def _of_class(file: Path, classes: Sequence[str]) -> int:
    return classes.index(file.parent.name)


@dataclass(frozen=True)
class EventSet:
    """A data set of tonic."""

    class_name: str
    """In tonic.datasets; the folder below the root has the same name."""
    side: int
    """Width and height of the sensor, pixels."""
    n_recordings: int
    """Of the official data set."""
    page: str
    """A web page with the files that tonic reads."""
    ending: str
    """Of event files."""
    label: Label
    parts: tuple[str, ...]
    """Folders for training and for testing; or one folder, of which a fixed tenth of each class is for testing."""
    bytes_per_event: int = 1
    """Bytes per event; a file was cut off if its size is not a multiple of this."""

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
    """Reads the events: a structured array with x, y, p, and t in microseconds."""


def find_recordings(name: str, root: Path, download: bool) -> tuple[list[Recording], list[str], list[str]]:
    """Recordings of one of `EVENT_SETS`, sorted by path, training first; the names of the classes; notes on files left
    out.

    The folder may have fewer recordings than the official data set.

    Raises:
        ValueError: for a file without a class, or a class without files; `MissingData` if there are no files.
        ImportError: without tonic.
    """
    event_set, dataset = EVENT_SETS[name], _tonic_class(name)
    folder = root / event_set.class_name
    classes = list(dataset.classes)
    has_test = event_set.has_test
    require(name, folder, event_set.page, partial(_download, dataset, has_test) if download else None)
    listings = [files_below(folder / part, (event_set.ending,)) for part in event_set.parts]
    recordings = []
    for listing, is_test in zip(listings, (False, True), strict=False):  # the second folder is for testing
        recordings += _recordings(dataset, event_set.label, folder, listing, is_test)
    _check(recordings, classes, folder, has_test)
    return (recordings if has_test else _with_test(recordings, classes)), classes, notes_on(listings)


def _tonic_class(name: str) -> Any:
    try:
        from tonic import datasets
    except ImportError as error:
        raise ImportError("tonic reads events: pip install 'snn4-agent[events]'") from error
    if name == "cifar10-dvs" and find_spec("aedat") is None:
        raise ImportError("aedat reads the recordings of cifar10-dvs: pip install aedat")
    return getattr(datasets, EVENT_SETS[name].class_name)


def _download(dataset: Any, has_test: bool, place: Path) -> None:
    for part in [{"train": True}, {"train": False}] if has_test else [{}]:
        dataset(str(place), **part)


def _recordings(dataset: Any, label: Label, folder: Path, listing: Listing, is_test: bool) -> list[Recording]:
    # tonic's own list includes hidden files and fails on hidden folders. So it searches an empty place and gets ours.
    local = type(dataset.__name__, (dataset,), {"_check_exists": lambda self: True})(os.devnull)
    files, classes = sorted(listing.found, key=str), list(dataset.classes)
    try:
        labels = [label(file, classes) for file in files]
    except ValueError as error:
        raise ValueError(
            f"{folder}: a file or folder in it is not named after a class or user as in "
            f"tonic.datasets.{dataset.__name__}: {error}"
        ) from error
    local.data, local.targets = list(map(str, files)), labels
    return [Recording(file, labels[n], is_test, partial(_events, local, n)) for n, file in enumerate(files)]


def _events(recordings: Any, index: int) -> np.ndarray:
    return recordings[index][0]  # type: ignore[no-any-return]


def _check(recordings: list[Recording], classes: list[str], folder: Path, has_test: bool) -> None:
    for recording in recordings:
        if not 0 <= recording.label < len(classes):
            raise ValueError(f"labels: got {recording.label} for {recording.file}, allowed are 0 to {len(classes) - 1}")
    for is_test in (False, True) if has_test else (False,):
        present = {recording.label for recording in recordings if recording.is_test == is_test}
        missing = [name for label, name in enumerate(classes) if label not in present]
        if missing:
            raise ValueError(
                f"classes: got no recording for {'testing' if is_test else 'training'} of {', '.join(missing)} in "
                f"{folder}, allowed is one or more of each"
            )


def _with_test(recordings: list[Recording], classes: list[str]) -> list[Recording]:
    labels = torch.tensor([recording.label for recording in recordings])
    test, train = split_by_class(labels, max(round(len(recordings) / 10), len(classes)), classes)
    tests = [replace(recordings[row], is_test=True) for row in test.tolist()]
    return [recordings[row] for row in train.tolist()] + tests
