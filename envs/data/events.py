"""Event cameras: recordings become frames (T, 2, H, W), counts of events in bins of time."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from snn4.envs.data.pool import Pool
from snn4.envs.data.reading import OnError, read_all
from snn4.envs.data.recordings import EVENT_SETS, find_recordings

Binning = Literal["time", "count"]


def read_events(
    name: str, root: Path, bins: int, binning: Binning, size: int | None, cache: Path, on_error: OnError, download: bool
) -> Pool:
    """One of `EVENT_SETS` as counts of events (N, T, 2, H, W), uint8.

    Args:
        name: of the data set.
        root: folder of all data sets; this one lies there as tonic lays it out.
        bins: T.
        binning: bins of equal time, or of equally many events.
        size: height and width in which events are counted; None for the sensor's pixels.
        cache: folder in which frames are kept, to be made only once.
        on_error: what happens where recordings cannot be read.
        download: whether recordings that are not there may be downloaded.

    Raises:
        ValueError: for recordings that cannot be read; `MissingData` where there are none.
        ImportError: without tonic.
    """
    known = EVENT_SETS[name]
    if size is not None and size > known.side:
        raise ValueError(f"image_size: got {size}, allowed for {name} is 1 to {known.side}, the sensor's pixels")
    found, classes, left_out = find_recordings(name, root, download)
    by_file = {recording.file: recording for recording in found}
    settings = f"{name} {root} {bins} {binning} {size}"

    def read(file: Path) -> Tensor:
        if file.stat().st_size % known.bytes_an_event:
            raise ValueError(f"cut off: {file.stat().st_size} bytes, {known.bytes_an_event} an event")
        return frames(by_file[file].events(), known.side, bins, binning, size)

    file = cache / f"{name}-{hashlib.sha256(settings.encode()).hexdigest()[:12]}.safetensors"
    pixels, rows, notes = read_all(list(by_file), read, file, on_error, settings)
    labels, is_test = (torch.tensor(x)[rows] for x in ([r.label for r in found], [r.is_test for r in found]))
    notes = [*left_out, *notes]
    if len(found) < known.n_recordings:
        notes.append(f"{len(found):,} recordings of the {known.n_recordings:,} of the official data set")
    train, test = (~is_test).nonzero().flatten(), is_test.nonzero().flatten()
    return Pool(classes, pixels, labels, train, test, mean=(0.0, 0.0), std=(1.0, 1.0), notes=notes)


def frames(events: np.ndarray, side: int, bins: int, binning: Binning, size: int | None = None) -> Tensor:
    """Events of a sensor of ``side`` x ``side`` pixels, counted in each bin, polarity and pixel: uint8 (T, 2, H, W).

    Bins are those of tonic's ToFrame: all equally long, what does not divide is left out at the end. Counts above 255
    become 255.

    Raises:
        ValueError: for no events, events outside of the sensor, or too few for so many bins.
    """
    if len(events) == 0:
        raise ValueError("there is no event in it")
    if min(events["x"].min(), events["y"].min()) < 0 or max(events["x"].max(), events["y"].max()) >= side:
        raise ValueError(f"there are events outside of the sensor's {side} x {side} pixels")
    order = np.argsort(events["t"], kind="stable")
    time = _bins(events["t"][order], bins, binning)
    order, time = order[time < bins], time[time < bins]
    p, y, x = (events[axis][order].astype(np.int64) for axis in "pyx")
    shape = (bins, 2, size or side, size or side)
    places = np.ravel_multi_index((time, p, y * shape[2] // side, x * shape[3] // side), shape)
    counts = np.bincount(places, minlength=math.prod(shape))
    return torch.from_numpy(counts.clip(max=255).astype(np.uint8)).view(shape)


def _bins(t: np.ndarray, bins: int, binning: Binning) -> np.ndarray:
    """The bin of each event, by its time in rising order; ``bins`` and above for what is left out."""
    passed = t - t[0] if binning == "time" else np.arange(len(t))
    width = (int(passed[-1]) + (binning == "count")) // bins
    if width == 0:
        raise ValueError(f"{len(t)} events are too few, or too close together, for {bins} bins")
    return (passed // width).astype(np.int64)
