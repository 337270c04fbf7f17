"""Read many small files into one tensor, cache the tensor in a file, and name files that cannot be read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.hub import tqdm  # type: ignore[attr-defined]  # a plain counter if tqdm is not installed

OnError = Literal["stop", "skip"]

_FORMAT = 2
"""Format of cache files; a new number invalidates all of them."""


def read_all(
    files: Sequence[Path], read: Callable[[Path], Tensor], cache: Path, on_error: OnError, settings: str
) -> tuple[Tensor, Tensor, list[str]]:
    """The results of ``read``, stacked (n, …); their indices (n,) in ``files``; notes on the other files.

    Args:
        files: to read.
        read: returns a tensor, of the same shape for each file, or raises an error that says what is wrong.
        cache: the file that keeps the result. It is valid while files (path, size, times of change) and settings are
            the same. If it cannot be written, nothing is kept. It is mapped into memory: parts that are unused, or do
            not fit, stay on the disk.
        on_error: whether an unreadable file stops everything (after all files were tried) or is left out.
        settings: everything that ``read`` depends on besides the file.

    Raises:
        ValueError: for unreadable files, with their number, the first ones and the reasons. Also for a single file
            whose problem may be temporary; then nothing is left out and nothing is kept.
    """
    fingerprint = _fingerprint(files, settings)
    tensor, places, bad, is_new = _load(cache, fingerprint) or _read(files, read)
    notes = _save(cache, tensor, places, bad, fingerprint) if is_new else []
    message = _message(bad, len(files))
    if bad and (on_error == "stop" or not len(places)):
        raise ValueError(f"{message}; data.on_error=skip leaves them out" if len(places) else message)
    return tensor, places, [f"left out: {message}", *notes] if bad else notes


def _read(files: Sequence[Path], read: Callable[[Path], Tensor]) -> tuple[Tensor, Tensor, dict[str, str], bool]:
    tensor = torch.empty(0)
    places = list[int]()
    bad = dict[str, str]()
    for place, result in enumerate(_results(files, read)):
        if isinstance(result, str):
            bad[str(files[place])] = result
            continue
        if not places:
            tensor = torch.empty(len(files), *result.shape, dtype=result.dtype)
        tensor[len(places)] = result
        places.append(place)
    return tensor[: len(places)], torch.tensor(places, dtype=torch.int64), bad, True


def _is_file_at_fault(error: Exception) -> bool:
    """Whether the file is at fault, rather than a disk, memory or decoder that may be available later."""
    if isinstance(error, OSError):  # decoders raise it without a number
        return error.errno in (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENOTDIR)
    return not isinstance(error, (ImportError, MemoryError))


def _results(files: Sequence[Path], read: Callable[[Path], Tensor]) -> Iterator[Tensor | str]:
    """The result for each file, or the reason why it cannot be read; threads read several files at a time."""

    def attempt(file: Path) -> Tensor | str:
        try:
            return read(file)
        except Exception as error:  # decoders raise many kinds of errors for damaged files
            reason = f"{type(error).__name__}: {error}"
            if not _is_file_at_fault(error):
                raise ValueError(f"{file} cannot be read now ({reason}); solve this and try again") from error
            return reason

    with (
        ThreadPoolExecutor(os.cpu_count()) as threads,
        tqdm(total=len(files), disable=not sys.stderr.isatty(), unit="file", leave=False) as bar,
    ):
        for start in range(0, len(files), 256):  # not all at once: results wait in memory
            for result in threads.map(attempt, files[start : start + 256]):
                bar.update(1)
                yield result


def _message(bad: dict[str, str], n_files: int) -> str:
    first = ", ".join(f"{file} ({reason})" for file, reason in list(bad.items())[:3])
    return f"{len(bad)} of {n_files} files cannot be read: {first}{', …' if len(bad) > 3 else ''}"


def _fingerprint(files: Sequence[Path], settings: str) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {settings}".encode())
    for file in files:
        digest.update(f"\n{file} {_state(file)}".encode())
    return digest.hexdigest()


def _state(file: Path) -> str:
    try:
        status = file.stat()
    except OSError:  # a broken link: reading reports it
        return "gone"
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"  # ctime also changes with permissions


def _load(cache: Path, fingerprint: str) -> tuple[Tensor, Tensor, dict[str, str], bool] | None:
    try:
        with safe_open(cache, "pt") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("fingerprint") != fingerprint:
                return None
            return stored.get_tensor("tensor"), stored.get_tensor("places"), json.loads(metadata["bad"]), False
    except (OSError, SafetensorError):  # missing or damaged
        return None


def _save(cache: Path, tensor: Tensor, places: Tensor, bad: dict[str, str], fingerprint: str) -> list[str]:
    """Write the whole cache file or nothing; returns a note if it cannot be written."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=cache.parent) as folder:
            partial = Path(folder, cache.name)
            content = {"tensor": tensor, "places": places}
            save_file(content, partial, {"fingerprint": fingerprint, "bad": json.dumps(bad)})
            partial.replace(cache)
    except (OSError, SafetensorError) as error:
        return [f"not cached, so files are read again each time: {error}"]
    return []
