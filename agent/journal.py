"""The run folder: what a life was, what happened in it, and what came out."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from snn4.agent.config import ContinualConfig, RunConfig, TrainConfig, dump
from snn4.agent.events import Evaluated, Event, Fitted, Learned, Recalled, Saved, Validated, from_json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_PACKAGES = (
    "snn4-agent", "torch", "numpy", "numba", "gymnasium", "stable-baselines3", "sb3-contrib",
    "snntorch", "norse", "spikingjelly", "avalanche-lib",
)  # fmt: skip


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
        self._scalars = _scalar_writer(folder)

    @classmethod
    def create(cls, runs: Path, config: RunConfig | TrainConfig | ContinualConfig) -> Journal:
        """A new folder ``runs/<name>-<time>`` with the resolved config."""
        try:
            runs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{runs}: no folder can be made here ({error.strerror}); name another with --runs-dir"
            ) from error
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        for number in range(1000):
            folder = runs / (f"{config.name}-{stamp}" + (f"-{number}" if number else ""))
            try:
                folder.mkdir()
                break
            except FileExistsError:
                continue
        _write(folder / "config.yaml", dump(config))
        when = {"start": _now(), "end": None, "state": "running"}
        _write_json(
            folder / "run.json", {**_subject(config), "config": dataclasses.asdict(config), **provenance(), **when}
        )
        return cls(folder)

    def go_on_after(self, checkpoint: str | None) -> None:
        """Drop what was written after ``checkpoint`` ("checkpoints/000003"; None: birth): it will be lived again."""
        self._events.truncate(_end_of(self.folder, checkpoint) if checkpoint else 0)
        self._write_scalars_again()
        self._update(state="running", end=None)

    def write(self, event: Event) -> None:
        """Append ``event``, with the time, and its scalars."""
        line = json.dumps({"time": _now(), **event.to_json()})
        self._events.write(line + "\n")
        self._events.flush()
        self._write_scalars(event, None)

    def finish(self, state: str, summary: dict[str, Any] | None = None) -> None:
        """Record how the life ended; ``summary`` if it is finished."""
        self._update(state=state, end=_now())
        if summary is not None:  # last: a life without it can still be resumed, and then gets it
            _write_json(self.folder / "summary.json", summary)

    def _write_scalars(self, event: Event, when: float | None) -> None:
        for name, (value, step) in _scalars(event).items():
            self._scalars.add_scalar(name, value, step, walltime=when)

    def _write_scalars_again(self) -> None:
        """Those of the events that are left, in place of all files before: TensorBoard would show the others, too."""
        self._scalars.close()
        for path in (self.folder / "tensorboard").glob("events.out.tfevents.*"):
            path.unlink()
        self._scalars = _scalar_writer(self.folder)
        for when, event, _ in read_events(self.folder):
            self._write_scalars(event, when.timestamp())

    def _update(self, **changes: Any) -> None:
        run = json.loads((self.folder / "run.json").read_text())
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


def _subject(config: RunConfig | TrainConfig | ContinualConfig) -> dict[str, Any]:
    """What a run is about."""
    match config:
        case TrainConfig():
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


def provenance() -> dict[str, Any]:
    """Where a result comes from: commit, versions, machine."""
    return {
        **commit(),
        "versions": {name: installed_version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
    }


def require_place(path: Path | None) -> None:
    """RunError where no file can be written to ``path``."""
    if path is not None and path.is_dir():
        raise RunError(f"{path}: is a folder; name a file")
    if path is not None and not path.parent.is_dir():
        raise RunError(f"{path}: there is no folder {path.parent}; make it, or name another file")


def commit() -> dict[str, Any]:
    """``commit_hash`` of the checkout that this code runs from (None if installed), and if it was changed since."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # else this is somebody's venv inside their own repository
        return {"commit_hash": git("rev-parse", "HEAD"), "commit_dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit_hash": None, "commit_dirty": None}


def _scalar_writer(folder: Path) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter  # a second of imports that reading a journal does not need

    return SummaryWriter(str(folder / "tensorboard"))


def _scalars(event: Event) -> dict[str, tuple[float, int]]:
    if isinstance(event, Learned):
        name = f"{event.being}/{event.number}-{event.task}"
        values = {f"{name}/{key}": value for key, value in event.losses.items()}
        values |= {f"{name}/spike_rate/layer_{i}": rate for i, rate in enumerate(event.spike_rates)}
        values |= {} if event.episode_return is None else {f"{name}/episode_return": event.episode_return}
        return {key: (value, event.age) for key, value in values.items()}
    if isinstance(event, Evaluated):
        stage = "test" if event.final else "validation"
        return {
            f"{event.being}/{stage}/{task}/{key}": (score[key], event.age)
            for task, score in event.scores.items()
            for key in ("return_mean", "spikes_per_decision", "effective_acs", "effective_macs")
        }
    if isinstance(event, Fitted):
        values = {"loss": event.loss, "accuracy": event.accuracy, "learning_rate": event.learning_rate}
        return {f"{event.being}/train/{key}": (value, event.images) for key, value in values.items()}
    if isinstance(event, Validated):
        values = {"top1": event.top1, "loss": event.loss}
        return {f"{event.being}/validation/{key}": (value, event.images) for key, value in values.items()}
    if isinstance(event, Recalled):
        known = event.accuracies[: event.learned]
        values = {f"accuracy/{number}": value for number, value in enumerate(event.accuracies)}
        values |= {"average_accuracy": sum(known) / len(known)} if known else {}
        return {f"{event.being}/{key}": (value, event.learned) for key, value in values.items()}
    return {}


def is_lived_in(folder: Path) -> bool:
    """Whether a process has the journal in ``folder`` open."""
    try:
        _lock(folder).close()
    except RunBusy:
        return True
    return False


def _lock(folder: Path) -> Any:
    file = (folder / ".lock").open("a")
    try:
        import fcntl
    except ImportError:  # Windows: two processes in one folder are not noticed
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise RunBusy(
            f"{folder}: another process lives in this folder; watch it with: snn4-agent watch {folder}"
        ) from error
    return file


def _write_json(path: Path, data: Any) -> None:
    _write(path, json.dumps(data, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def installed_version(package: str) -> str | None:
    """Version of an installed package, None if it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
