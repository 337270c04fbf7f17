"""Checkpoints of a run: written completely or not at all, and verified when they are read.

A checkpoint is a folder: ``model.safetensors`` (weights), ``learner.safetensors`` (optimisers, replay, statistics),
``state.json`` (everything that is not an array), ``config.yaml``, and ``manifest.json`` with the SHA-256 of each file.
It contains no pickle.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from snn4.agent.config.document import parse
from snn4.agent.errors import BadInput, CannotGoOn

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints in a run folder."""
MANIFEST = "manifest.json"
PARTS = ("model", "learner")
FILES = (*(f"{part}.safetensors" for part in PARTS), "state.json", "config.yaml")
_FREE = ("threads", "workers", "device", "accelerator", "keep_checkpoints", "root", "folder", "download", "source")
"""Keys of a config that may change between interruption and resume: they concern the machine and its disk. The
fingerprint shows whether data and teachers are still the same."""
_OPEN = ("options", "kwargs", "hyperparameters", "physics")
"""Mappings of a config with keys that are not fields."""


class Damaged(CannotGoOn):
    """A checkpoint is incomplete or was altered."""


class RunChanged(BadInput):
    """The config or the data of a run differ from those at its checkpoint."""


def save(folder: Path, state: dict[str, Any], about: dict[str, Any], config: str, keep: int = 2) -> Path:
    """Write the next checkpoint, ``folder/<number>``, and delete all but the newest ``keep`` sound ones.

    An error (a full disk) leaves the earlier checkpoints as they were, and no trace of this one.

    Args:
        folder: of all checkpoints.
        state: ``model`` and ``learner``: nested dicts and lists of plain data, tensors and arrays.
        about: plain data on the checkpoint itself.
        config: YAML.
        keep: number of checkpoints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    newest = max((int(path.name) for path in _complete(folder)), default=0)
    target = folder / f"{newest + 1:06d}"
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    try:
        partial.mkdir()
        _write(partial, {part: state[part] for part in PARTS}, about, config)
        partial.rename(target)
        _sync(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _, *older = _complete(folder)
    for old in set(older) - set(itertools.islice(_sound(older), keep - 1)):
        shutil.rmtree(old)
    return target


class Checkpoint(NamedTuple):
    """The newest sound checkpoint of a folder."""

    path: Path
    state: dict[str, Any]
    """``model`` and ``learner``."""
    about: dict[str, Any]
    notes: list[str]
    """Lines for the log, on newer checkpoints that are damaged."""

    @property
    def place(self) -> str:
        """Its path inside the run folder."""
        return f"{CHECKPOINTS}/{self.path.name}"

    def require_same(self, run: Path, fingerprint: dict[str, Any]) -> None:
        """Require the data with which the run began.

        Args:
            run: the run folder.
            fingerprint: of the present data.

        Raises:
            RunChanged: the fingerprint in the checkpoint differs.
        """
        before = self.about.get("fingerprint", self.state["learner"].get("data", {}))  # its place in version 0.1
        changed = {key: value for key, value in fingerprint.items() if before.get(key, value) != value}
        if changed:
            then = {key: before[key] for key in changed}
            raise RunChanged(
                f"{run}: the training data were {then} when {self.place} was written, and are now {changed}; allowed "
                "are the same data: restore the files, or start another run"
            )


def load(folder: Path) -> Checkpoint | None:
    """The newest sound checkpoint in ``folder``; None if there is no checkpoint.

    Raises:
        Damaged: there are checkpoints, but none is sound.
    """
    problems: list[str] = []
    for path in _complete(folder):
        try:
            _verify(path)
            state, about = _read(path)
        except Damaged as error:
            problems.append(str(error))
            continue
        notes = [f"{problem}; {path.name}, the one before it, is used" for problem in problems]
        return Checkpoint(path, state, about, notes)
    if problems:
        raise Damaged("; ".join(problems))
    return None


def newest(run: Path) -> Checkpoint | None:
    """`load` for the run folder ``run``."""
    return load(run / CHECKPOINTS)


def require_unchanged(run: Path) -> None:
    """Require the config with which the run began.

    Raises:
        RunChanged: keys of the config in ``run`` have changed since its newest sound checkpoint; lists them.
    """
    newest = next(_sound(_complete(run / CHECKPOINTS)), None)
    if newest is None:
        return
    now, then = (dict(_flat(parse((folder / "config.yaml").read_text(encoding="utf-8")))) for folder in (run, newest))
    changed = [key for key in then if key in now and now[key] != then[key] and key.rpartition(".")[2] not in _FREE]
    if changed:
        changes = ", ".join(f"{key} (was {then[key]!r}, is {now[key]!r})" for key in changed)
        raise RunChanged(
            f"{run / 'config.yaml'}: changed since {newest.name} was written: {changes}; allowed are the same "
            "settings: restore them, or start another run"
        )


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested mappings and lists with its place (``world.0.steps``), and a summary of each container.

    A field that only one of two configs has belongs to another version, except in mappings with free keys.
    """
    name = place.rpartition(".")[2]
    if isinstance(value, (dict, list)):
        content = sorted(map(str, value)) if name in _OPEN else len(value) if isinstance(value, list) else "settings"
        yield place, content
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(item, f"{place}.{key}".lstrip("."))
    else:
        yield place, value


def size(path: Path) -> int:
    """Bytes of a checkpoint."""
    return sum(file.stat().st_size for file in path.iterdir())


def _complete(folder: Path) -> list[Path]:
    numbered = (path for path in folder.glob("[0-9]*") if path.name.isdecimal() and path.is_dir())
    return sorted(numbered, key=lambda path: int(path.name), reverse=True)


def _sound(paths: list[Path]) -> Iterator[Path]:
    """Those of ``paths`` that are sound; each is verified on demand, since hashing a large replay memory takes time."""
    for path in paths:
        with contextlib.suppress(Damaged):
            _verify(path)
            yield path


def _write(path: Path, parts: dict[str, Any], about: dict[str, Any], config: str) -> None:
    plain: dict[str, Any] = {"about": about}
    for name, part in parts.items():
        tensors: dict[str, Tensor] = {}
        plain[name] = _split(part, "", tensors)
        (path / f"{name}.safetensors").write_bytes(to_bytes(tensors))  # OSError if the disk is full
    (path / "state.json").write_text(json.dumps(plain), encoding="utf-8")
    (path / "config.yaml").write_text(config, encoding="utf-8")
    sums = {file.name: _sha256(file) for file in sorted(path.iterdir())}
    (path / MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")
    for file in path.iterdir():
        _sync(file)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """State and about; Damaged for a checkpoint with right checksums that still cannot be read."""
    try:
        plain = json.loads((path / "state.json").read_text(encoding="utf-8"))
        state = {part: _join(plain[part], load_file(path / f"{part}.safetensors")) for part in PARTS}
        return state, dict(plain.get("about", {}))  # version 0.1 wrote none
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise Damaged(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def _verify(path: Path) -> None:
    try:
        _require_files(path, [MANIFEST])
        sums = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        _require_files(path, FILES)
        changed = [name for name in FILES if _sha256(path / name) != sums[name]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Damaged(f"{path}: incomplete ({error})") from error
    if changed:
        raise Damaged(f"{path}: {', '.join(changed)} altered since it was written (SHA-256 differs)")


def _require_files(path: Path, names: Iterable[str]) -> None:
    """OSError for anything but regular files: reading a pipe or a device may never end."""
    for name in names:
        if not (path / name).is_file():
            raise OSError(f"{name} is missing, or not a regular file")


def _split(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """JSON for ``value``; arrays move into ``tensors`` and leave their names; keys keep their types (Adam's: int)."""
    if isinstance(value, (Tensor, np.ndarray)):
        tensors[name] = torch.as_tensor(value).detach().cpu().contiguous().clone()
        return {"array": name, "numpy": isinstance(value, np.ndarray)}
    if isinstance(value, dict):
        return {"dict": [[key, _split(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_split(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]}
    return value.item() if isinstance(value, np.generic) else value


def _join(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        tensor = tensors[value["array"]]
        return tensor.numpy() if value["numpy"] else tensor
    if "dict" in value:
        return {key: _join(item, tensors) for key, item in value["dict"]}
    return [_join(item, tensors) for item in value["list"]]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    is_folder = path.is_dir()
    if os.name == "nt" and is_folder:
        return
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)  # Windows only syncs files open for writing
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
