"""Where data lies, and how it gets there."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path


class MissingData(ValueError):
    """Files of a data set that are neither here nor can be downloaded: what, where, and how to get them."""

    exit_status = 2  # of the command line


def data_root(root: str | None) -> Path:
    """Folder of all data sets: ``root``, else the environment variable SNN4_DATA, else one in the user's cache."""
    told = root or os.environ.get("SNN4_DATA")
    return Path(told).expanduser().absolute() if told else _user_cache() / "snn4-agent" / "data"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def require(name: str, folder: Path, page: str, fetch: Callable[[Path], None] | None) -> None:
    """Make sure that ``folder`` is there: ``fetch(other)`` downloads it to ``other / folder.name``, whence it moves.

    Nothing half-written stays behind when that fails or is interrupted.

    Args:
        name: of the data set, for messages.
        folder: where its files are.
        page: where a human finds them.
        fetch: None where nothing may be downloaded.

    Raises:
        MissingData: where the folder is not there, and was not or could not be downloaded.
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
            redirect_stdout(sys.stderr),  # what they print is no part of this program's output
        ):
            fetch(Path(partial))
            _move(Path(partial, folder.name), folder)
    except Exception as error:  # servers, connections and archives fail in a dozen ways
        why = " ".join(str(error).split())
        raise _missing(name, folder, page, f"downloading it failed ({type(error).__name__}: {why})") from error


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """``folder`` is there; what was made for it is gone after an error."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for place in new:
            with suppress(OSError):  # another process has put something there
                place.rmdir()
        raise


def _missing(name: str, folder: Path, page: str, why: str) -> MissingData:
    return MissingData(
        f"{name}: {folder} is not there, and {why}. Where data already lies in another folder, name it by the "
        f"environment variable SNN4_DATA or by data.root; else get it from {page}"
    )


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError:
        if not target.exists():  # else another process was faster
            raise


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """A server that says nothing for so long is given up."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
