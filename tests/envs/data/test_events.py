from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn4.envs.data.events import Binning, frames, read_events
from snn4.envs.data.pool import Pool
from snn4.envs.data.reading import OnError

tonic = pytest.importorskip("tonic")
EVENTS = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])


def events_of(n: int, side: int, most: int, seed: int, dtype: np.dtype = EVENTS) -> np.ndarray:
    random = np.random.default_rng(seed)
    events = np.empty(n, dtype)
    for axis, limit in (("x", side), ("y", side), ("p", 2), ("t", most)):
        events[axis] = random.integers(0, limit, n)
    return events[np.argsort(events["t"], kind="stable")]


@given(st.integers(20, 400), st.integers(2, 40), st.integers(1000, 10**6), st.integers(1, 12), st.integers(0, 99))
def test_bins_are_tonics(n: int, side: int, most: int, bins: int, seed: int) -> None:
    events = events_of(n, side, most, seed)
    for binning in ("time", "count"):
        to_frame = tonic.transforms.ToFrame((side, side, 2), **{f"n_{binning.replace('count', 'event')}_bins": bins})
        counts = frames(events, side, bins, binning)  # type: ignore[arg-type]
        assert counts.dtype == torch.uint8
        assert torch.equal(counts, torch.from_numpy(to_frame(events)).byte())


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int64])
@pytest.mark.parametrize(("side", "size"), [(34, 17), (128, 32), (128, 48)])
def test_larger_pixels_are_tonics(side: int, size: int, dtype: type) -> None:
    kinds = np.dtype([("t", np.uint64), ("x", dtype), ("y", dtype), ("p", bool)])
    events = events_of(3000, side, 10**6, 0, kinds)
    larger = tonic.transforms.Downsample(sensor_size=(side, side, 2), target_size=(size, size))
    to_frame = tonic.transforms.ToFrame((size, size, 2), n_time_bins=4)
    assert torch.equal(frames(events, side, 4, "time", size), torch.from_numpy(to_frame(larger(events))).byte())


def test_events_need_not_be_in_order() -> None:
    events = events_of(200, 10, 5000, 0)
    mixed = events[np.random.default_rng(0).permutation(200)]
    assert torch.equal(frames(mixed, 10, 3, "time"), frames(events, 10, 3, "time"))


@pytest.mark.parametrize(("n", "count"), [(255, 255), (256, 255), (40_000, 255)])
def test_counts_end_at_255(n: int, count: int) -> None:
    events = np.zeros(n, EVENTS)
    events["t"] = np.arange(n)
    events["x"], events["p"] = 1, 1
    counts = frames(events, 2, 1, "count")
    assert counts.tolist() == [[[[0, 0], [0, 0]], [[0, count], [0, 0]]]]


def test_events_that_make_no_frames() -> None:
    events = events_of(100, 10, 5000, 0)
    with pytest.raises(ValueError, match="there is no event in it"):
        frames(events[:0], 10, 2, "time")
    with pytest.raises(ValueError, match="there are events outside of the sensor's 9 x 9 pixels"):
        frames(events, 9, 2, "time")
    with pytest.raises(ValueError, match="3 events are too few, or too close together, for 4 bins"):
        frames(events[:3], 10, 4, "count")
    events["t"] = 7
    with pytest.raises(ValueError, match="100 events are too few, or too close together, for 4 bins"):
        frames(events, 10, 4, "time")


def read(
    root: Path, name: str = "nmnist", bins: int = 3, binning: Binning = "time", size: int | None = None,
    on_error: OnError = "stop", cache: Path | None = None,
) -> Pool:  # fmt: skip
    return read_events(name, root, bins, binning, size, cache or root / "cache", on_error, download=False)


def test_recordings_become_frames(nmnist: Path, draw_events: Callable[..., np.ndarray]) -> None:
    for binning in ("time", "count"):
        for _ in ("read", "cached"):
            pool = read(nmnist, binning=binning)  # type: ignore[arg-type]
            assert pool.pixels[torch.arange(40)].shape == (40, 3, 2, 34, 34)
            assert pool.labels.tolist() == [*(digit for digit in range(10) for _ in range(3)), *range(10)]
            assert (pool.train.tolist(), pool.test.tolist()) == (list(range(30)), list(range(30, 40)))
            assert (pool.mean, pool.std) == ((0, 0), (1, 1))  # counts stay counts
            expected = frames(draw_events(309, 34, seed=92), 34, 3, binning)  # type: ignore[arg-type]
            assert torch.equal(pool.pixels[torch.tensor([29])][0], expected)
            assert pool.notes == ["40 recordings of the 70,000 of the official data set"]
    assert len(list((nmnist / "cache").iterdir())) == 2
    assert read(nmnist, bins=5, size=17).pixels[torch.arange(2)].shape == (2, 5, 2, 17, 17)


def test_gestures_become_frames(gestures: Path) -> None:
    pool = read(gestures, "dvs128-gesture", 4, size=32)
    assert pool.pixels[torch.arange(33)].shape == (33, 4, 2, 32, 32)
    assert pool.pixels[torch.arange(33)].sum((1, 2, 3, 4)).min() >= 195  # of 200 events
    assert pool.labels[pool.test].sort().values.tolist() == list(range(11))
    assert len(pool.classes) == 11


def test_a_change_is_seen(nmnist: Path, write_nmnist: Callable, draw_events: Callable) -> None:  # type: ignore[type-arg]
    before = read(nmnist).pixels[torch.arange(40)]
    write_nmnist(nmnist / "NMNIST" / "Train" / "0" / "00001.bin", draw_events(300, 34, seed=77))
    after = read(nmnist).pixels[torch.arange(40)]
    assert (before != after).flatten(1).any(1).nonzero().flatten().tolist() == [1]


def test_damaged_recordings_are_named_and_counted(nmnist: Path, gestures: Path) -> None:
    train = nmnist / "NMNIST" / "Train"
    cut = train / "0" / "00001.bin"
    empty = train / "1" / "00001.bin"
    dangling = train / "2" / "00001.bin"
    whole = read(nmnist)
    cut.write_bytes(cut.read_bytes()[:-2])
    empty.write_bytes(b"")
    dangling.unlink()
    dangling.symlink_to(nmnist / "nowhere")
    with pytest.raises(ValueError, match=r"^3 of 40 files cannot be read: ") as error_info:
        read(nmnist)
    reasons = {cut: "cut off: 1498 bytes, 5 per event", empty: "there is no event in it", dangling: "No such"}
    for file, reason in reasons.items():
        assert str(file) in str(error_info.value)
        assert reason in str(error_info.value)
    pool = read(nmnist, on_error="skip")
    rows = [row for row in range(40) if row not in (1, 4, 7)]
    assert torch.equal(pool.pixels[torch.arange(37)], whole.pixels[torch.tensor(rows)])
    assert torch.equal(pool.labels, whole.labels[rows])
    assert len(pool.test) == 10
    assert [note.partition(": ")[0] for note in pool.notes[:1]] == ["left out"]
    arm = gestures / "DVSGesture" / "ibmGestureTest" / "user24_fluorescent_led" / "4.npy"
    arm.write_bytes(arm.read_bytes()[:1000])
    with pytest.raises(ValueError, match=rf"^1 of 33 files cannot be read: {arm} \(ValueError: "):
        read(gestures, "dvs128-gesture")


def test_events_outside_of_the_sensor(nmnist: Path, write_nmnist: Callable, draw_events: Callable) -> None:  # type: ignore[type-arg]
    file = nmnist / "NMNIST" / "Test" / "5" / "00003.bin"
    write_nmnist(file, draw_events(300, 200))
    with pytest.raises(ValueError, match=rf"^1 of 40 files .*: {file} \(ValueError: there are events outside of the"):
        read(nmnist)


def test_no_pixels_smaller_than_the_sensors(nmnist: Path) -> None:
    with pytest.raises(ValueError, match=r"^image_size: got 35, allowed for nmnist is 1 to 34, the sensor's pixels"):
        read(nmnist, size=35)


def test_the_real_part_of_nmnist(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    pool = read(real_data("NMNIST"), cache=tmp_path)
    counts = pool.pixels[torch.arange(len(pool.labels))]
    assert torch.bincount(pool.labels[pool.train]).min() > 50
    assert 1000 < counts.flatten(1).sum(1, dtype=torch.int64).float().mean() < 10_000
    assert (counts.flatten(2).sum(2) > 0).all()  # three saccades, each with events
