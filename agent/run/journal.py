"""The run folder: the subject of a run, its events, and its result."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from snn4.agent.errors import BadInput
from snn4.agent.run.events import Ended, Event, Saved, from_json
from snn4.agent.run.provenance import provenance
from snn4.agent.run.scalars import Scalars

CONFIG, RUN, EVENTS, SUMMARY = "config.yaml", "run.json", "events.jsonl", "summary.json"

fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None
"""None on Windows, where two processes in one folder go unnoticed."""


class RunError(BadInput):
    """A folder is no run folder, or its run does not allow the command."""


class RunBusy(RunError):
    """Another process works in this run folder."""


class Journal:
    """Writes a run folder: ``config.yaml``, ``run.json``, ``events.jsonl``, ``tensorboard/``, ``summary.json``.

    ``folder`` is locked while the journal is open.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = _lock(folder)
        try:
            self._events = _opened(folder / EVENTS)
        except RunError:
            self._lock.close()
            raise
        self._scalars = Scalars(folder / "tensorboard")

    @classmethod
    def create(cls, runs: Path, name: str, config: str, about: dict[str, Any]) -> Journal:
        """Make a new folder ``runs/<name>-<time>``.

        Args:
            runs: its parent folder.
            name: of the experiment.
            config: YAML of the resolved config.
            about: the subject of the run, for ``run.json``.
        """
        try:
            folder = _new_folder(runs, f"{name}-{datetime.now():%Y%m%d-%H%M%S}")
        except OSError as error:
            raise RunError(
                f"{runs}: cannot make a folder here ({error.strerror}); name another place with --runs-dir"
            ) from error
        _write(folder / CONFIG, config)
        status = {"start": _now(), "end": None, "state": "running"}
        _write_json(folder / RUN, {**about, **provenance(), **status})
        return cls(folder)

    @property
    def position(self) -> int:
        """Bytes of ``events.jsonl``; a checkpoint stores them to know how much of the story it covers."""
        return (self.folder / EVENTS).stat().st_size

    def go_on_after(self, saved: Saved | None, position: int | None = None) -> None:
        """Drop the events after a checkpoint, which will happen again; add the checkpoint's own event if it is missing.

        Args:
            saved: the event of the checkpoint; None is the beginning of the run.
            position: bytes of the journal before the checkpoint; None (version 0.1) searches for the event.
        """
        if saved is None:
            self._events.truncate(0)
        else:
            end, is_written = _end_of(self.folder, saved, position)
            self._events.truncate(end)
            if not is_written:
                self.write(saved)
        self._scalars.write_again((event, when) for when, event, _ in read_events(self.folder))
        self._update(state="running", end=None)

    def write(self, event: Event) -> None:
        """Append ``event`` with the time, and write its scalars."""
        line = json.dumps({"time": _now(), **event.to_json()})
        self._events.write(line + "\n")
        self._events.flush()
        self._scalars.write(event)

    def finish(self, state: str, summary: dict[str, Any] | None = None) -> None:
        """Record how the run ended; a finished one has a ``summary``."""
        self._update(state=state, end=_now())
        if summary is not None:  # last: without it a run can still be resumed, which writes it
            _write_json(self.folder / SUMMARY, summary)

    def _update(self, **changes: Any) -> None:
        run = json.loads((self.folder / RUN).read_text(encoding="utf-8"))
        _write_json(self.folder / RUN, run | changes)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._events.close()
            self._scalars.close()
        except OSError:
            if error is None:
                raise  # otherwise the first error says more
        finally:
            self._lock.close()


def _new_folder(runs: Path, name: str) -> Path:
    """Make ``runs/name``, or ``runs/name-1``, ``runs/name-2``, … where that exists."""
    runs.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        folder = runs / (f"{name}-{number}" if number else name)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def read_events(folder: Path, position: int = 0) -> Iterator[tuple[datetime, Event, int]]:
    """Time, event and next position of each event of a run folder, from byte ``position`` on; half a line is left out.

    A resumed run drops the events that it repeats, so ``position`` may be past the end or inside a line: reading then
    starts at the next whole line.
    """
    path = folder / EVENTS
    if not path.is_file():
        return
    with path.open("rb") as file:
        position = min(position, path.stat().st_size)
        if position:
            file.seek(position - 1)
            position += len(file.readline()) - 1
        for line in file:
            if not line.endswith(b"\n"):
                return
            position += len(line)
            data = json.loads(line)
            yield datetime.fromisoformat(data["time"]), from_json(data), position


LEARNED = b'"event": "learned"'


def thinned_events(folder: Path, most: int = 10_000) -> Iterator[Event]:
    """The events of a run folder, at most about ``most`` of `Learned`; the last one before any other event is there.

    A long life learns a million times, and nothing that looks at the whole of it needs every time.
    """
    path = folder / EVENTS
    if not path.is_file():
        return
    with path.open("rb") as file:
        stride = 1 + sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b"")) // most
        file.seek(0)
        skipped: bytes | None = None
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):
                break
            is_learned = LEARNED in line[:80]
            if is_learned and number % stride:
                skipped = line
                continue
            if skipped is not None and not is_learned:
                yield from_json(json.loads(skipped))
            skipped = None
            yield from_json(json.loads(line))
    if skipped is not None:
        yield from_json(json.loads(skipped))


def _end_of(folder: Path, saved: Saved, position: int | None) -> tuple[int, bool]:
    """Position at which the story of a checkpoint ends, and whether its own event is in the journal.

    A process that is killed right after a checkpoint does not write the event: the story then ends at ``position``, or
    after a power cut with the last whole line before it.
    """
    last = 0
    for _, event, end in read_events(folder):
        if isinstance(event, Saved) and event.path == saved.path:
            return end, True
        if position is None or end <= position:
            last = end
    return last, False


def require_place(path: Path | None) -> None:
    """Raise RunError if no file can be written to ``path``."""
    if path is not None and path.is_dir():
        raise RunError(f"{path}: is a folder; name a file")
    if path is not None and not path.parent.is_dir():
        raise RunError(f"{path}: there is no folder {path.parent}; make it, or name another file")


def commit_of(folder: Path) -> dict[str, Any]:
    """``commit_hash`` and ``commit_dirty`` of the code that began the run in ``folder``; today's code may differ."""
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    return {key: run[key] for key in ("commit_hash", "commit_dirty")}


def following(folder: Path, follow: bool) -> Iterator[tuple[datetime, Event]]:
    """Time and event of everything in the journal, and of new events while a process writes them."""
    position, ended = 0, False
    while True:
        busy = is_busy(folder)  # before reading: a process that has gone by now has written everything
        for when, event, end in read_events(folder, position):
            position, ended = end, isinstance(event, Ended)
            yield when, event
        if ended or not follow or not busy:
            return
        time.sleep(0.25)


def require_run(folder: Path) -> None:
    """Raise RunError unless ``folder`` is a run folder."""
    if not (folder / CONFIG).is_file() or not (folder / RUN).is_file():
        raise RunError(
            f"{folder}: no run folder (config.yaml or run.json is missing); allowed is one made by run or train; "
            "evaluate also takes a model's folder (config.yaml and model.safetensors), or zoo:NAME"
        )


def read_summary(folder: Path) -> dict[str, Any] | None:
    """``summary.json``; None before the end."""
    path = folder / SUMMARY
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def is_busy(folder: Path) -> bool:
    """Whether a process has the journal in ``folder`` open; True where that cannot be known."""
    if fcntl is None:
        return True
    if not (folder / ".lock").is_file():
        return False
    with (folder / ".lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _lock(folder: Path) -> Any:
    file = _opened(folder / ".lock")
    if fcntl is None:
        return file
    deadline = time.monotonic() + 0.1  # `is_busy` of another process holds it for a moment
    while not _locked(file):
        if time.monotonic() > deadline:
            file.close()
            raise RunBusy(f"{folder}: another process works in this folder; watch it with: snn4-agent watch {folder}")
        time.sleep(0.01)
    return file


def _opened(path: Path) -> TextIO:
    """The file to append to; RunError for a pipe, which would block forever."""
    if path.exists() and not path.is_file():
        raise RunError(f"{path}: is not a regular file; delete it")
    return path.open("a", encoding="utf-8")


def _locked(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _write_json(path: Path, data: Any) -> None:
    _write(path, json.dumps(data, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
