"""A process that answers messages: it ends with the process that has started it, and never on signals of a terminal."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

_SPAWN = multiprocessing.get_context("spawn")  # a fork would inherit locks of torch's threads
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Child:
    """A process that runs ``serve(connection, *arguments)``, with so many ``threads`` for each library."""

    def __init__(self, serve: Callable[..., None], *arguments: Any, threads: int = 1) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_begin, args=(serve, theirs, *arguments))
        with _environment(dict.fromkeys(_THREADS, str(threads))):  # libraries read it when they are imported
            self._process.start()
        theirs.close()
        atexit.register(self.close)  # before multiprocessing waits for its processes

    def send(self, message: bytes) -> None:
        """Send a message; if the process has died, `receive` says so."""
        try:
            self.connection.send_bytes(message)
        except OSError:
            return

    def receive(self) -> bytes | None:
        """The next message; None if there is none yet.

        Raises:
            EOFError: the process has died.
        """
        try:
            if self.connection.poll():
                return self.connection.recv_bytes()
        except OSError as error:
            raise EOFError from error
        if not self._process.is_alive():  # its own children may hold its end of the connection open
            raise EOFError
        return None

    def end(self, patience: float = 1) -> str:
        """How the process has ended, in words; it is killed after so many seconds of ``patience``."""
        self.close(patience)
        code = self._process.exitcode or 0
        return f"killed by signal {-code}" if code < 0 else f"exit status {code}"

    def close(self, patience: float = 0) -> None:
        """Close the connection, on which the process ends; kill it after so many seconds of ``patience``."""
        atexit.unregister(self.close)
        self.connection.close()
        self._process.join(patience)
        self._process.kill()
        self._process.join()


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin(serve: Callable[..., None], connection: Connection, *arguments: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C reaches all processes of a terminal; the parent decides
        signal.signal(number, signal.SIG_IGN)
    try:
        serve(connection, *arguments)
    except (EOFError, ConnectionError):  # the parent has closed the connection
        return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # even in the middle of a trial
