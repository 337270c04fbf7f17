"""Environments for single tests, small data sets in the layouts of their libraries, and the real data sets."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

EVENTS = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
"""The fields of an event in tonic's NMNIST."""


@pytest.fixture
def register() -> Iterator[Callable[[Any], None]]:
    """Registers ``Test-v0`` with a given maker, for this test only."""
    yield lambda maker: gym.register("Test-v0", maker)
    gym.registry.pop("Test-v0", None)


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """The folder SNN4_DATA if it holds a data set of that name; otherwise the test is skipped."""

    def root_of(name: str) -> Path:
        root = os.environ.get("SNN4_DATA")
        if not root or not Path(root, name).is_dir():
            pytest.skip(f"needs {name} in the folder that SNN4_DATA names")
        return Path(root)

    return root_of


@pytest.fixture
def write_idx() -> Callable[[Path, np.ndarray], None]:
    """Writes bytes in the format of MNIST's files."""

    def write(path: Path, values: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes = struct.pack(f">{values.ndim}I", *values.shape)
        path.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes())

    return write


@pytest.fixture
def mnist(tmp_path: Path, write_idx: Callable[[Path, np.ndarray], None]) -> Path:
    """A root with 120 + 30 images in the layout of MNIST."""
    random = np.random.default_rng(0)
    for part, n in (("train", 120), ("t10k", 30)):
        raw = tmp_path / "MNIST" / "raw"
        write_idx(raw / f"{part}-images-idx3-ubyte", random.integers(0, 256, (n, 28, 28)))
        write_idx(raw / f"{part}-labels-idx1-ubyte", random.permutation(np.arange(n) % 10))
    return tmp_path


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with 5 x 20 + 10 images in the layout of CIFAR-10; torchvision gets their checksums."""
    from torchvision.datasets import CIFAR10

    random, folder = np.random.default_rng(0), tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, content: dict[str, object]) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, md5((folder / name).read_bytes()).hexdigest()]

    def batch(n: int) -> dict[str, object]:
        return {"data": random.integers(0, 256, (n, 3072), np.uint8), "labels": (np.arange(n) % 10).tolist()}

    monkeypatch.setattr(CIFAR10, "train_list", [write(f"data_batch_{i}", batch(20)) for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch(10))])
    name, digest = write("batches.meta", {"label_names": [f"thing {i}" for i in range(10)]})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": digest})
    return tmp_path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with train/<class>/*.png and test/<class>/*.png: 6 + 2 pictures, 12 x 12, of each of three animals."""
    random = np.random.default_rng(0)
    for part, n in (("train", 6), ("test", 2)):
        for animal in ("cat", "dog", "eel"):
            folder = tmp_path / "pictures" / part / animal
            folder.mkdir(parents=True)
            for number in range(n):
                pixels = random.integers(0, 256, (12, 12, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def draw_events() -> Callable[..., np.ndarray]:
    """``n`` events of a sensor with ``side`` x ``side`` pixels, in order of time (µs)."""

    def draw(n: int, side: int, seed: int = 0) -> np.ndarray:
        random = np.random.default_rng(seed)
        events = np.empty(n, EVENTS)
        for axis, most in (("x", side), ("y", side), ("p", 2)):
            events[axis] = random.integers(0, most, n)
        events["t"] = np.sort(random.integers(0, 300_000, n))
        return events

    return draw


@pytest.fixture
def write_nmnist() -> Callable[[Path, np.ndarray], None]:
    """Writes events in the format of N-MNIST's files: five bytes per event."""

    def write(path: Path, events: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        t = events["t"]
        columns = [events["x"], events["y"], events["p"] << 7 | t >> 16, t >> 8 & 255, t & 255]
        path.write_bytes(np.stack(columns, 1).astype(np.uint8).tobytes())

    return write


@pytest.fixture
def nmnist(
    tmp_path: Path, draw_events: Callable[..., np.ndarray], write_nmnist: Callable[[Path, np.ndarray], None]
) -> Path:
    """A root with recordings in the layout of N-MNIST: 3 + 1 of each digit."""
    for digit in range(10):
        for number in range(4):
            part = "Test" if number == 3 else "Train"
            events = draw_events(300 + digit, 34, seed=10 * digit + number)
            write_nmnist(tmp_path / "NMNIST" / part / str(digit) / f"{number:05}.bin", events)
    return tmp_path


@pytest.fixture
def gestures(tmp_path: Path, draw_events: Callable[..., np.ndarray]) -> Path:
    """A root with recordings like DVS128 Gesture's in tonic's layout: two users for training, one for testing.

    Each file holds an array (events, 4): x, y, polarity, time in ms.
    """
    for user, part in (("user01", "Train"), ("user02", "Train"), ("user24", "Test")):
        folder = tmp_path / "DVSGesture" / f"ibmGesture{part}" / f"{user}_fluorescent_led"
        folder.mkdir(parents=True)
        for gesture in range(11):
            events = draw_events(200, 128, seed=gesture)
            columns = [events["x"], events["y"], events["p"], events["t"] // 1000]
            np.save(folder / f"{gesture}.npy", np.stack(columns, 1).astype(np.float64))
    return tmp_path
