from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snn4.envs.data.downloads import MissingData
from snn4.envs.data.recordings import Recording, find_recordings

tonic = pytest.importorskip("tonic")


def find(name: str, root: Path) -> tuple[list[Recording], list[str]]:
    recordings, classes, _ = find_recordings(name, root, download=False)
    return recordings, classes


def names(recordings: list[Recording]) -> list[str]:
    return ["/".join(recording.file.parts[-2:]) for recording in recordings]


def test_nmnist(nmnist: Path, draw_events: Callable[..., np.ndarray]) -> None:
    recordings, classes = find("nmnist", nmnist)
    assert classes == tonic.datasets.NMNIST.classes
    assert names(recordings) == [
        *(f"{digit}/{number:05}.bin" for digit in range(10) for number in range(3)),
        *(f"{digit}/00003.bin" for digit in range(10)),
    ]
    assert [recording.label for recording in recordings] == [
        *(digit for digit in range(10) for _ in range(3)),
        *range(10),
    ]
    assert [recording.is_test for recording in recordings] == [False] * 30 + [True] * 10
    assert (recordings[-1].events() == draw_events(309, 34, seed=93)).all()
    assert (recordings[0].events() == draw_events(300, 34, seed=0)).all()


def test_gestures(gestures: Path) -> None:
    recordings, classes = find("dvs128-gesture", gestures)
    assert classes == tonic.datasets.DVSGesture.classes
    assert (len(recordings), sum(recording.is_test for recording in recordings)) == (33, 11)
    for recording in recordings:
        assert recording.label == int(recording.file.stem)
        assert recording.is_test == (recording.file.parent.name == "user24_fluorescent_led")
        x, y, p, t = np.load(recording.file).T
        events = recording.events()
        for axis, column in (("x", x), ("y", y), ("p", p), ("t", 1000 * t)):
            assert (events[axis] == column).all()


@pytest.mark.parametrize("name", ["nmnist", "dvs128-gesture"])
def test_hidden_files_and_folders_and_links_back_are_left_out_with_a_note(
    name: str, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue({"nmnist": "nmnist", "dvs128-gesture": "gestures"}[name])
    plain, _ = find(name, root)
    first = next(recording.file for recording in plain if recording.label == 3)
    shutil.copytree(first.parent, first.parent / ".ipynb_checkpoints")
    shutil.copy(first, first.with_name(f"._{first.name}"))
    (first.parent / "again").symlink_to(first.parent)
    recordings, _, notes = find_recordings(name, root, download=False)
    assert [recording.file for recording in recordings] == [recording.file for recording in plain]
    assert [note.split(": ")[1] for note in notes] == ["hidden", "folders that are read anyway"]


@pytest.mark.parametrize(("name", "tonic_name"), [("nmnist", "NMNIST"), ("dvs128-gesture", "DVSGesture")])
def test_recordings_are_those_that_tonic_lists(name: str, tonic_name: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue({"nmnist": "nmnist", "dvs128-gesture": "gestures"}[name])
    kind = type(tonic_name, (getattr(tonic.datasets, tonic_name),), {"_check_exists": lambda self: True})
    listed = []
    for is_test in (False, True):
        local = kind(str(root), train=not is_test)
        listed += [(Path(file), label, is_test) for file, label in zip(local.data, local.targets, strict=True)]
    recordings, _ = find(name, root)
    assert sorted((recording.file, recording.label, recording.is_test) for recording in recordings) == sorted(listed)


def flatbuffer(identifier: bytes, slot: int, vector: bytes) -> bytes:
    """A flatbuffer of one table with one field, a vector; its size comes first."""
    vtable = struct.pack("<HH", 6 + 2 * slot, 8) + bytes(2 * slot) + struct.pack("<H", 4)
    padding = bytes(-len(vtable) % 4)
    start = 8 + len(padding + vtable)
    table = struct.pack("<iI", len(vtable), 28 - start - 4)  # the vector begins at byte 28
    head = struct.pack("<I", start) + identifier + padding + vtable + table
    content = head.ljust(28, b"\0") + vector
    return struct.pack("<I", len(content)) + content


def write_aedat4(path: Path, events: np.ndarray) -> None:
    """Writes events in one uncompressed packet."""
    info = (
        b'<dv version="2.0"><node name="outInfo" path="/outInfo/"><node name="0" path="/outInfo/0/">'
        b'<attr key="typeIdentifier" type="string">EVTS</attr><attr key="compression" type="string">NONE</attr>'
        b'<node name="info" path="/outInfo/0/info/"><attr key="sizeX" type="int">128</attr>'
        b'<attr key="sizeY" type="int">128</attr></node></node></node></dv>'
    )
    layout = {"names": list("txyp"), "formats": ["<i8", "<i2", "<i2", "?"], "offsets": [0, 8, 10, 12], "itemsize": 16}
    rows = np.zeros(len(events), np.dtype(layout))  # type: ignore[call-overload]
    for axis in "txyp":
        rows[axis] = events[axis]
    packet = flatbuffer(b"EVTS", 0, struct.pack("<I", len(rows)) + rows.tobytes())
    header = flatbuffer(b"IOHE", 2, struct.pack("<I", len(info)) + info + b"\0")
    path.write_bytes(b"#!AER-DAT4.0\r\n" + header + struct.pack("<ii", 0, len(packet)) + packet)


@pytest.fixture
def cifar10_dvs(tmp_path: Path, draw_events: Callable[..., np.ndarray]) -> Path:
    """A root with three recordings of each class of CIFAR10-DVS."""
    pytest.importorskip("aedat")
    for label, name in enumerate(tonic.datasets.CIFAR10DVS.classes):
        folder = tmp_path / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        for number in range(3):
            write_aedat4(folder / f"cifar10_{name}_{number}.aedat4", draw_events(50, 128, seed=3 * label + number))
    return tmp_path


def test_cifar10_dvs(cifar10_dvs: Path, draw_events: Callable[..., np.ndarray]) -> None:
    recordings, classes = find("cifar10-dvs", cifar10_dvs)
    assert classes == list(tonic.datasets.CIFAR10DVS.classes)
    test = [recording for recording in recordings if recording.is_test]
    assert sorted(recording.label for recording in test) == list(range(10))  # a tenth would be three
    assert recordings[-10:] == test
    assert len({recording.file for recording in recordings}) == 30
    for recording in recordings:
        expected = draw_events(50, 128, seed=3 * recording.label + int(recording.file.stem[-1]))
        events = recording.events()
        assert all((events[axis] == expected[axis]).all() for axis in "xytp")
        assert recording.file.parent.name == classes[recording.label]
    assert [r.is_test for r in find("cifar10-dvs", cifar10_dvs)[0]] == [r.is_test for r in recordings]


@pytest.mark.parametrize(("part", "word"), [("Train", "training"), ("Test", "testing")])
def test_classes_without_recordings(nmnist: Path, part: str, word: str) -> None:
    shutil.rmtree(nmnist / "NMNIST" / part / "3")
    (nmnist / "NMNIST" / part / "3").mkdir()
    message = rf"^classes: got no recording for {word} of 3 - three in {nmnist}/NMNIST, allowed is one or more of each"
    with pytest.raises(ValueError, match=message):
        find("nmnist", nmnist)
    shutil.rmtree(nmnist / "NMNIST" / part)
    with pytest.raises(ValueError, match=rf"^classes: got no recording for {word} of 0 - zero, 1 - one, 2 - two, 3 -"):
        find("nmnist", nmnist)


def test_a_label_that_names_no_class(gestures: Path) -> None:
    folder = gestures / "DVSGesture" / "ibmGestureTrain" / "user01_fluorescent_led"
    shutil.copy(folder / "3.npy", folder / "11.npy")
    with pytest.raises(ValueError, match=rf"^labels: got 11 for {folder}/11.npy, allowed are 0 to 10"):
        find("dvs128-gesture", gestures)


def test_files_and_folders_of_other_names(nmnist: Path, gestures: Path) -> None:
    shutil.copytree(nmnist / "NMNIST" / "Train" / "3", nmnist / "NMNIST" / "Train" / "three")
    with pytest.raises(ValueError, match=r"NMNIST: a file or folder in it is not named after a class or user as in to"):
        find("nmnist", nmnist)
    folder = gestures / "DVSGesture" / "ibmGestureTrain" / "user01_fluorescent_led"
    (folder / "0.npy").rename(folder / "clap.npy")
    with pytest.raises(ValueError, match=r"DVSGesture: a file or folder in it is not named .*'clap'"):
        find("dvs128-gesture", gestures)


def test_nothing_there(tmp_path: Path) -> None:
    for name, folder in (("nmnist", "NMNIST"), ("dvs128-gesture", "DVSGesture")):
        with pytest.raises(MissingData, match=rf"^{name}: {tmp_path / folder} is not there"):
            find(name, tmp_path)


def test_the_real_part_of_nmnist(real_data: Callable[[str], Path]) -> None:
    root = real_data("NMNIST")
    recordings, _ = find("nmnist", root)
    local = type("NMNIST", (tonic.datasets.NMNIST,), {"_check_exists": lambda self: True})(str(root), train=False)
    by_file = {recording.file: recording for recording in recordings if recording.is_test}
    assert set(by_file) == set(map(Path, local.data))
    for index in range(0, len(local), 10):
        events, label = local[index]
        recording = by_file[Path(local.data[index])]
        assert recording.label == label
        assert (recording.events() == events).all()
