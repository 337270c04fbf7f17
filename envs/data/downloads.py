"""The folder of all data sets, and downloads into it."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path


class MissingData(ValueError):
    """Missing files of a data set that cannot be downloaded; the message says which, where, and how to get them."""

    exit_status = 2  # of the command line


def data_root(root: str | None) -> Path:
    """The folder of all data sets: ``root``, else the environment variable SNN4_DATA, else one in the user's cache."""
    folder = root or os.environ.get("SNN4_DATA")
    return Path(folder).expanduser().absolute() if folder else _user_cache() / "snn4-agent" / "data"


def data_cache(root: str | None) -> Path:
    """The folder of what was computed from data sets; it may be deleted at any time."""
    return data_root(root) / ".snn4-cache"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def require(name: str, folder: Path, page: str, fetch: Callable[[Path], None] | None) -> None:
    """Download ``folder`` if it is missing: ``fetch(partial)`` writes ``partial / folder.name``, which then moves.

    A failed or interrupted download leaves nothing behind.

    Args:
        name: of the data set, for messages.
        folder: of its files.
        page: a web page with the files.
        fetch: downloads the files; None forbids downloads.

    Raises:
        MissingData: if the folder is missing and the download is forbidden or fails.
    """
    if folder.exists():
        return
    if fetch is None:
        raise _missing(name, folder, page, "downloading is switched off (download: false)")
    try:
        with (
            _made(folder.parent),
            tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as partial,
            _patience(60),
            redirect_stdout(sys.stderr),  # what libraries print is not this program's output
        ):
            fetch(Path(partial))
            _move(Path(partial, folder.name), folder)
    except Exception as error:  # servers, connections and archives raise many kinds of errors
        reason = " ".join(str(error).split())
        raise _missing(name, folder, page, f"downloading it failed ({type(error).__name__}: {reason})") from error


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make ``folder`` and its parents; remove the new ones after an error."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for place in new:
            with suppress(OSError):  # another process has added a file
                place.rmdir()
        raise


def _missing(name: str, folder: Path, page: str, reason: str) -> MissingData:
    return MissingData(
        f"{name}: {folder} is not there, and {reason}. If the data is in another folder, set the environment variable "
        f"SNN4_DATA or data.root; otherwise get it from {page}"
    )


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError:
        if not target.exists():  # else another process was faster
            raise


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Set the timeout for servers that do not answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
