from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from snn4.envs.data.reading import OnError, read_all


class Reader:
    """Reads files that hold three numbers each, and notes which files it read."""

    def __init__(self, folder: Path, n: int = 5) -> None:
        self.files = [folder / f"{number}.txt" for number in range(n)]
        self.cache = folder / "cache" / "numbers.safetensors"
        self.names_read: list[str] = []
        for number, file in enumerate(self.files):
            file.write_text(f"{number} 7 9")

    def read(self, file: Path) -> Tensor:
        self.names_read.append(file.name)
        return torch.tensor([int(word) for word in file.read_text().split()])

    def all(self, on_error: OnError = "stop", settings: str = "") -> tuple[list[int], list[int], list[str], int]:
        """First numbers, places, notes, and how many files were read to get them."""
        self.names_read.clear()
        numbers, places, notes = read_all(self.files, self.read, self.cache, on_error, settings)
        assert numbers.shape == (len(places), 3)
        assert (numbers[:, 1:] == torch.tensor([7, 9])).all()
        assert list(self.cache.parent.glob(".partial-*")) == []
        return numbers[:, 0].tolist(), places.tolist(), notes, len(self.names_read)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


WHOLE = ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [])


def test_read_files_are_cached(reader: Reader) -> None:
    assert reader.all() == (*WHOLE, 5)
    assert reader.all() == (*WHOLE, 0)
    assert list(reader.cache.parent.iterdir()) == [reader.cache]


def test_many_files_keep_their_order(tmp_path: Path) -> None:
    reader = Reader(tmp_path, 700)
    numbers, places, _, _ = reader.all()
    assert numbers == places == list(range(700))


def test_any_change_is_seen(reader: Reader) -> None:
    reader.all()
    reader.files[1].write_text("8 7 9")
    assert reader.all() == ([0, 8, 2, 3, 4], [0, 1, 2, 3, 4], [], 5)
    old = reader.files[1].stat()
    reader.files[1].write_text("6 7 9")
    os.utime(reader.files[1], ns=(old.st_atime_ns, old.st_mtime_ns))  # as tools that copy times do
    assert reader.all()[0] == [0, 6, 2, 3, 4]
    assert reader.all(settings="other") == ([0, 6, 2, 3, 4], [0, 1, 2, 3, 4], [], 5)
    del reader.files[0]
    assert reader.all(settings="other") == ([6, 2, 3, 4], [0, 1, 2, 3], [], 4)
    assert reader.all(settings="other")[3] == 0


@pytest.mark.parametrize("damage", ["truncated", "empty", "another file", "a folder"])
def test_a_damaged_cache_is_made_anew(reader: Reader, damage: str) -> None:
    reader.all()
    whole = reader.cache.read_bytes()
    match damage:
        case "truncated":
            reader.cache.write_bytes(whole[:-1])
        case "empty":
            reader.cache.write_bytes(b"")
        case "another file":
            reader.cache.write_text("nothing of ours" * 9)
        case "a folder":
            reader.cache.unlink()
            reader.cache.mkdir()
            (reader.cache / "x").write_text("")
    numbers, places, notes, n = reader.all()
    assert (numbers, places, n) == (*WHOLE[:2], 5)
    if damage == "a folder":
        assert notes[0].startswith("not cached, so files are read again each time: ")
    else:
        assert notes == []
        assert reader.all()[3] == 0


def test_a_cache_that_cannot_be_written(reader: Reader) -> None:
    reader.cache.parent.write_text("in the way")
    for _ in range(2):
        numbers, places, notes, n = reader.all()
        assert (numbers, places, n) == (*WHOLE[:2], 5)
        assert len(notes) == 1
        assert notes[0].startswith("not cached, so files are read again each time: ")


@contextmanager
def files_no_larger_than(n: int) -> Iterator[None]:
    resource = pytest.importorskip("resource")  # not on Windows
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_no_half_of_a_cache(reader: Reader) -> None:
    with files_no_larger_than(100):
        numbers, places, notes, _ = reader.all()
    assert (numbers, places) == WHOLE[:2]
    assert notes[0].startswith("not cached, so files are read again each time: ")
    assert list(reader.cache.parent.iterdir()) == []


def test_bad_files_are_named_counted_and_may_be_skipped(reader: Reader) -> None:
    reader.files[0].write_text("0 seven 9")
    reader.files[3].unlink()
    message = (
        rf"^2 of 5 files cannot be read: {reader.files[0]} \(ValueError: invalid literal .*'seven'\), "
        rf"{reader.files[3]} \(FileNotFoundError: .*\)"
    )
    for n in (5, 0):
        reader.names_read.clear()
        with pytest.raises(ValueError, match=f"{message}; data.on_error=skip leaves them out$"):
            reader.all("stop")
        assert len(reader.names_read) == n
    numbers, places, notes, n = reader.all("skip")
    assert (numbers, places, n) == ([1, 2, 4], [1, 2, 4], 0)  # the good files come from the cache
    assert len(notes) == 1
    assert notes[0].startswith("left out: 2 of 5 files cannot be read: ")
    reader.files[3].write_text("3 7 9")
    assert reader.all("skip")[1] == [1, 2, 3, 4]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ImportError("no decoder"), MemoryError("full")])
def test_a_reason_that_may_pass_leaves_nothing_out(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def read(file: Path) -> Tensor:
        if file == reader.files[2]:
            raise error
        return plain(file)

    plain = reader.read
    with monkeypatch.context() as patch:
        patch.setattr(reader, "read", read)
        with pytest.raises(ValueError, match=rf"^{reader.files[2]} cannot be read now \({type(error).__name__}: "):
            reader.all("skip")
    assert reader.all() == (*WHOLE, 5)


def test_only_the_first_bad_files_are_named(reader: Reader) -> None:
    for file in reader.files[:4]:
        file.write_text("")
        file.write_text("x")
    with pytest.raises(ValueError, match=r"^4 of 5 files cannot be read: .*0\.txt .*1\.txt .*2\.txt [^,]*, …; data.on"):
        reader.all()


def test_nothing_but_bad_files(reader: Reader) -> None:
    for file in reader.files:
        file.write_text("x")
    for on_error in ("stop", "skip"):
        with pytest.raises(ValueError, match=r"^5 of 5 files cannot be read: .*, …$"):
            reader.all(on_error)  # type: ignore[arg-type]


def test_an_interruption_leaves_nothing(reader: Reader) -> None:
    def interrupted(file: Path) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_all(reader.files, interrupted, reader.cache, "skip", "")
    assert not reader.cache.parent.exists()
