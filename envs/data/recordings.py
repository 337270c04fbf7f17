"""Recordings of event cameras as tonic lays them out on the disk and reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snn4.envs.data.downloads import require
from snn4.envs.data.splits import split_by_class


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
    bytes_an_event: int = 1
    """A file whose size is no multiple of this was cut off."""
    has_test: bool = True
    """Else a tenth of each class, always the same, is for testing."""


_FIGSHARE = "https://figshare.com/ndownloader/files"
EVENT_SETS = {
    "nmnist": EventSet("NMNIST", 34, 70_000, "https://www.garrickorchard.com/datasets/n-mnist", 5),
    "dvs128-gesture": EventSet("DVSGesture", 128, 1_341, f"{_FIGSHARE}/38022171 and {_FIGSHARE}/38020584"),
    "cifar10-dvs": EventSet("CIFAR10DVS", 128, 10_000, f"{_FIGSHARE}/38023437", has_test=False),
}


@dataclass(frozen=True)
class Recording:
    """One file of events."""

    file: Path
    label: int
    is_test: bool
    events: Callable[[], np.ndarray]
    """Reads them: a structured array with x, y, p and t in microseconds."""


def find_recordings(name: str, root: Path, download: bool) -> tuple[list[Recording], list[str]]:
    """Recordings of one of `EVENT_SETS`, in the order of their paths, those for training first; names of the classes.

    A folder in tonic's layout with fewer recordings than the official data set is fine.

    Raises:
        ValueError: for a file that belongs to no class, or a class without files; `MissingData` where there are none.
        ImportError: without tonic.
    """
    known, theirs = EVENT_SETS[name], _theirs(name)
    folder, classes = root / known.theirs, list(theirs.classes)
    parts: list[dict[str, bool]] = [{"train": True}, {"train": False}] if known.has_test else [{}]
    require(name, folder, known.page, partial(_download, theirs, parts) if download else None)
    found = [recording for part in parts for recording in _list(theirs, folder, part)]
    _check(found, classes, folder, known.has_test)
    return (found if known.has_test else _with_test(found, classes)), classes


def _theirs(name: str) -> Any:
    """tonic's class."""
    try:
        from tonic import datasets
    except ImportError as error:
        raise ImportError("events are read by tonic: pip install 'snn4-agent[events]'") from error
    if name == "cifar10-dvs" and find_spec("aedat") is None:
        raise ImportError("recordings of cifar10-dvs are read by aedat: pip install aedat")
    return getattr(datasets, EVENT_SETS[name].theirs)


def _download(theirs: Any, parts: list[dict[str, bool]], place: Path) -> None:
    for part in parts:
        theirs(str(place), **part)


def _list(theirs: Any, folder: Path, part: dict[str, bool]) -> Iterator[Recording]:
    # tonic's own check asks for the archive and for most of the recordings.
    local = type(theirs.__name__, (theirs,), {"_check_exists": lambda self: True})
    try:
        recordings = local(str(folder.parent), **part)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{folder}: a file or folder in it is not named after a class or user as in "
            f"tonic.datasets.{theirs.__name__}: {error}"
        ) from error
    for index in sorted(range(len(recordings)), key=recordings.data.__getitem__):
        file, label = Path(recordings.data[index]), int(recordings.targets[index])
        yield Recording(file, label, not part.get("train", True), partial(_events, recordings, index))


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
