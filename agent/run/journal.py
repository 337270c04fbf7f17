"""The run folder: what a life was, what happened in it, and what came out."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from snn4.agent.config.file import dump
from snn4.agent.life.config import ContinualConfig, LifeConfig, TrainingConfig
from snn4.agent.run.events import Event, Saved, from_json
from snn4.agent.run.provenance import provenance
from snn4.agent.run.scalars import Scalars

fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None
"""Without it (Windows), two processes in one folder are not noticed."""


class RunError(ValueError):
    """A folder is no run, or no run that this can be done with."""


class RunBusy(RunError):
    """Another process lives in this run folder."""


class Journal:
    """Writes a run folder: ``config.yaml``, ``run.json``, ``events.jsonl``, ``tensorboard/``, ``summary.json``.

    ``folder`` is locked while the journal is open.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = _lock(folder)
        self._events = (folder / "events.jsonl").open("a", encoding="utf-8")
        self._scalars = Scalars(folder / "tensorboard")

    @classmethod
    def create(cls, runs: Path, config: LifeConfig | TrainingConfig | ContinualConfig) -> Journal:
        """A new folder ``runs/<name>-<time>`` with the resolved config."""
        try:
            folder = _new_folder(runs, f"{config.name}-{datetime.now():%Y%m%d-%H%M%S}")
        except OSError as error:
            raise RunError(
                f"{runs}: no folder can be made here ({error.strerror}); name another with --runs-dir"
            ) from error
        _write(folder / "config.yaml", dump(config))
        when = {"start": _now(), "end": None, "state": "running"}
        _write_json(
            folder / "run.json", {**_subject(config), "config": dataclasses.asdict(config), **provenance(), **when}
        )
        return cls(folder)

    def go_on_after(self, checkpoint: str | None) -> None:
        """Drop what was written after ``checkpoint`` ("checkpoints/000003"; None: birth): it will be lived again."""
        self._events.truncate(_end_of(self.folder, checkpoint) if checkpoint else 0)
        self._scalars.write_again((event, when) for when, event, _ in read_events(self.folder))
        self._update(state="running", end=None)

    def write(self, event: Event) -> None:
        """Append ``event``, with the time, and its scalars."""
        line = json.dumps({"time": _now(), **event.to_json()})
        self._events.write(line + "\n")
        self._events.flush()
        self._scalars.write(event)

    def finish(self, state: str, summary: dict[str, Any] | None = None) -> None:
        """Record how the life ended; ``summary`` if it is finished."""
        self._update(state=state, end=_now())
        if summary is not None:  # last: a life without it can still be resumed, and then gets it
            _write_json(self.folder / "summary.json", summary)

    def _update(self, **changes: Any) -> None:
        run = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        _write_json(self.folder / "run.json", run | changes)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._events.close()
            self._scalars.close()
        except OSError:
            if error is None:
                raise  # else the error that is already on its way says more
        finally:
            self._lock.close()


def _new_folder(runs: Path, name: str) -> Path:
    """``runs/name``, or that with the first number after it that is free."""
    runs.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        folder = runs / (f"{name}-{number}" if number else name)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def read_events(folder: Path, position: int = 0) -> Iterator[tuple[datetime, Event, int]]:
    """Events of a run folder from byte ``position`` on: time, event, position after it. A half line is left out.

    A resumed life drops what it lives again, so ``position`` may be past the end or inside a line: reading then goes on
    with the next whole line.
    """
    path = folder / "events.jsonl"
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


def _subject(config: LifeConfig | TrainingConfig | ContinualConfig) -> dict[str, Any]:
    """What a run is about."""
    match config:
        case TrainingConfig():
            what: dict[str, Any] = {"data": config.data.name}
        case ContinualConfig():
            what = {"data": config.stream.data.name, "strategy": config.strategy.name}
        case _:
            what = {"environments": [task.environment for task in config.world]}
    return {**what, "seed": config.seed}


def _end_of(folder: Path, checkpoint: str) -> int:
    """Where the journal told of ``checkpoint``; its end if the process was killed before it could."""
    end = 0
    for _, event, position in read_events(folder):
        end = position
        if isinstance(event, Saved) and event.path == checkpoint:
            break
    return end


def require_place(path: Path | None) -> None:
    """RunError where no file can be written to ``path``."""
    if path is not None and path.is_dir():
        raise RunError(f"{path}: is a folder; name a file")
    if path is not None and not path.parent.is_dir():
        raise RunError(f"{path}: there is no folder {path.parent}; make it, or name another file")


def commit_of(folder: Path) -> dict[str, Any]:
    """``commit_hash`` and ``commit_dirty`` of the code that began the run in ``folder``, which may be others now."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return {key: run[key] for key in ("commit_hash", "commit_dirty")}


def is_lived_in(folder: Path) -> bool:
    """Whether a process has the journal in ``folder`` open; where that cannot be known, it is taken to be so."""
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
    file = (folder / ".lock").open("a")
    if fcntl is None:
        return file
    deadline = time.monotonic() + 0.1  # others that only ask hold it for a moment
    while not _locked(file):
        if time.monotonic() > deadline:
            file.close()
            raise RunBusy(f"{folder}: another process lives in this folder; watch it with: snn4-agent watch {folder}")
        time.sleep(0.01)
    return file


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
