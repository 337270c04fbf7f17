"""Many small files into one tensor, once: what was read is kept in a cache file, what cannot be read is named."""

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
from torch.hub import tqdm  # type: ignore[attr-defined]  # a plain counter where tqdm is not installed

OnError = Literal["stop", "skip"]

_FORMAT = 2
"""Of cache files; another number makes all of them stale."""


def read_all(
    files: Sequence[Path], read: Callable[[Path], Tensor], cache: Path, on_error: OnError, settings: str
) -> tuple[Tensor, Tensor, list[str]]:
    """What ``read`` makes of each file, stacked (n, …); the places (n,) in ``files`` of those n; notes on the others.

    Args:
        files: what to read.
        read: gives a tensor, of the same shape for each file, or raises an error that says what is wrong with it.
        cache: where the result is kept, and found again while files (path, size, times of change) and settings are
            the same; in a folder that cannot be written it is not kept. Mapped into memory: what is not used, or does
            not fit, stays on the disk.
        on_error: whether a file that cannot be read stops everything (after all were tried) or is left out.
        settings: all that ``read`` depends on besides the file.

    Raises:
        ValueError: for files that cannot be read, with their number, the first ones and why; for one alone, where the
            reason may pass: then nothing is left out, and nothing kept.
    """
    fingerprint = _fingerprint(files, settings)
    tensor, places, bad, is_new = _load(cache, fingerprint) or _read(files, read)
    notes = _save(cache, tensor, places, bad, fingerprint) if is_new else []
    message = _message(bad, len(files))
    if bad and (on_error == "stop" or not len(places)):
        raise ValueError(f"{message}; data.on_error=skip leaves them out" if len(places) else message)
    return tensor, places, [f"left out: {message}", *notes] if bad else notes


def _read(files: Sequence[Path], read: Callable[[Path], Tensor]) -> tuple[Tensor, Tensor, dict[str, str], bool]:
    tensor, places, bad = torch.empty(0), list[int](), dict[str, str]()
    for place, result in enumerate(_results(files, read)):
        if isinstance(result, str):
            bad[str(files[place])] = result
            continue
        if not places:
            tensor = torch.empty(len(files), *result.shape, dtype=result.dtype)
        tensor[len(places)] = result
        places.append(place)
    return tensor[: len(places)], torch.tensor(places, dtype=torch.int64), bad, True


def _is_the_file_s(error: Exception) -> bool:
    """Whether the file is to blame, and not a disk, memory or decoder that may be there the next time."""
    if isinstance(error, OSError):  # decoders raise it without a number
        return error.errno in (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENOTDIR)
    return not isinstance(error, (ImportError, MemoryError))


def _results(files: Sequence[Path], read: Callable[[Path], Tensor]) -> Iterator[Tensor | str]:
    """Of each file what was read, or why not; files are read by a few threads, some at a time."""

    def attempt(file: Path) -> Tensor | str:
        try:
            return read(file)
        except Exception as error:  # decoders raise errors of a dozen kinds for damaged files
            why = f"{type(error).__name__}: {error}"
            if not _is_the_file_s(error):
                raise ValueError(f"{file} cannot be read now ({why}); see to that, and try again") from error
            return why

    with (
        ThreadPoolExecutor(os.cpu_count()) as threads,
        tqdm(total=len(files), disable=not sys.stderr.isatty(), unit="file", leave=False) as bar,
    ):
        for start in range(0, len(files), 256):  # not all at once: results wait in memory
            for result in threads.map(attempt, files[start : start + 256]):
                bar.update(1)
                yield result


def _message(bad: dict[str, str], n_files: int) -> str:
    first = ", ".join(f"{file} ({why})" for file, why in list(bad.items())[:3])
    return f"{len(bad)} of {n_files} files cannot be read: {first}{', …' if len(bad) > 3 else ''}"


def _fingerprint(files: Sequence[Path], settings: str) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {settings}".encode())
    for file in files:
        digest.update(f"\n{file} {_state(file)}".encode())
    return digest.hexdigest()


def _state(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:  # a link that leads nowhere: reading will say so
        return "gone"
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"  # the last also changes with permissions


def _load(cache: Path, fingerprint: str) -> tuple[Tensor, Tensor, dict[str, str], bool] | None:
    try:
        with safe_open(cache, "pt") as stored:
            about = stored.metadata() or {}
            if about.get("fingerprint") != fingerprint:
                return None
            return stored.get_tensor("tensor"), stored.get_tensor("places"), json.loads(about["bad"]), False
    except (OSError, SafetensorError):  # none yet, or damaged
        return None


def _save(cache: Path, tensor: Tensor, places: Tensor, bad: dict[str, str], fingerprint: str) -> list[str]:
    """Write the cache file whole or not at all; a note where it could not be written."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=cache.parent) as folder:
            partial = Path(folder, cache.name)
            content = {"tensor": tensor, "places": places}
            save_file(content, partial, {"fingerprint": fingerprint, "bad": json.dumps(bad)})
            partial.replace(cache)
    except (OSError, SafetensorError) as error:
        return [f"not cached, so it is read anew each time: {error}"]
    return []
