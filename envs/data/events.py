"""Event cameras: recordings as frames (T, 2, H, W), counts of events in bins of time."""

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
        root: folder of all data sets; the files are in tonic's layout.
        bins: number of frames, T.
        binning: bins of equal duration, or with equal numbers of events.
        size: height and width of the frames; None for the sensor's pixels.
        cache: folder that keeps the frames for later calls.
        on_error: what to do if recordings cannot be read.
        download: whether missing recordings may be downloaded.

    Raises:
        ValueError: for recordings that cannot be read; `MissingData` if there are none.
        ImportError: without tonic.
    """
    event_set = EVENT_SETS[name]
    if size is not None and size > event_set.side:
        raise ValueError(f"image_size: got {size}, allowed for {name} is 1 to {event_set.side}, the sensor's pixels")
    recordings, classes, left_out = find_recordings(name, root, download)
    by_file = {recording.file: recording for recording in recordings}
    settings = f"{name} {root} {bins} {binning} {size}"

    def read(file: Path) -> Tensor:
        if file.stat().st_size % event_set.bytes_per_event:
            raise ValueError(f"cut off: {file.stat().st_size} bytes, {event_set.bytes_per_event} per event")
        return frames(by_file[file].events(), event_set.side, bins, binning, size)

    file = cache / f"{name}-{hashlib.sha256(settings.encode()).hexdigest()[:12]}.safetensors"
    pixels, rows, notes = read_all(list(by_file), read, file, on_error, settings)
    labels = torch.tensor([recording.label for recording in recordings])[rows]
    is_test = torch.tensor([recording.is_test for recording in recordings])[rows]
    notes = [*left_out, *notes]
    if len(recordings) < event_set.n_recordings:
        notes.append(f"{len(recordings):,} recordings of the {event_set.n_recordings:,} of the official data set")
    train, test = (~is_test).nonzero().flatten(), is_test.nonzero().flatten()
    return Pool(classes, pixels, labels, train, test, mean=(0.0, 0.0), std=(1.0, 1.0), notes=notes)


def frames(events: np.ndarray, side: int, bins: int, binning: Binning, size: int | None = None) -> Tensor:
    """Events of a sensor with ``side`` x ``side`` pixels, counted per bin, polarity and pixel: uint8 (T, 2, H, W).

    Bins are those of tonic's ToFrame: all have the same width, and the remainder at the end is left out. Counts above
    255 become 255.

    Raises:
        ValueError: for no events, events outside of the sensor, or too few events for the bins.
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
    """The bin of each event, for times in rising order; ``bins`` and above for events left out."""
    passed = t - t[0] if binning == "time" else np.arange(len(t))
    width = (int(passed[-1]) + (binning == "count")) // bins
    if width == 0:
        raise ValueError(f"{len(t)} events are too few, or too close together, for {bins} bins")
    return (passed // width).astype(np.int64)
