"""Trials on a Ray cluster, through a process of its own that is connected to it.

Ray takes over the handlers of signals in its driver, and ends the driver when it loses the cluster. A life goes on.
"""

from __future__ import annotations

import importlib.util
import pickle
import socket
import time
from collections.abc import Callable, Generator, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

import snn4
from snn4.agent.evolution.child import Child
from snn4.agent.evolution.trials import POLL, WorkersLost, WorkersUnreachable

_KNOCKING = 3
"""Seconds in which a machine must accept a connection."""
_CONNECTING = 30
"""Seconds in which a running cluster must answer."""
_STARTING = 120
"""Seconds in which the cluster of this machine must start."""
_LEAVING = 10
"""Seconds in which the connected process must leave the cluster, or end that of this machine."""


class RayCluster:
    """The Ray cluster at ``address``; None starts one on this machine, for so many ``workers``."""

    def __init__(self, address: str | None, workers: int, retries: int) -> None:
        self.address, self.workers, self.retries = address, workers, retries
        self._driver: Child | None = None

    def connect(self) -> None:
        """Connect to the cluster, or start it.

        Raises:
            WorkersUnreachable: there is no such cluster, or it has another version of this package.
        """
        if self._driver is not None:
            return
        self.look()
        self._driver = Child(_drive, self.address, self.workers, self.retries, snn4.__version__)
        seconds = _STARTING if self.address is None else _CONNECTING
        until = time.monotonic() + seconds
        try:
            while (message := self._message()) != "connected":
                if isinstance(message, WorkersUnreachable):
                    raise message
                if time.monotonic() > until:
                    raise unreachable(self.address, f"which has not answered as Ray within {seconds} seconds")
        except BaseException:
            self.close()
            raise

    def answers(
        self, requests: Mapping[int, bytes], stop: Callable[[], bool]
    ) -> Generator[tuple[int, bytes], None, None]:
        if not requests or stop():
            return
        self.connect()
        message: Any = None
        try:
            self._send(requests)
            while message != "done" and not stop():
                message = self._message()
                if isinstance(message, tuple):
                    yield message
        finally:
            if message != "done":
                self.close()

    def close(self) -> None:
        if self._driver is not None:
            self._driver.close(_LEAVING)
            self._driver = None

    def look(self) -> None:
        """Raise WorkersUnreachable soon for what Ray would notice after a minute, or not at all."""
        if importlib.util.find_spec("ray") is None:
            raise WorkersUnreachable("engine: ray needs Ray, which is not installed: pip install 'snn4-agent[ray]'")
        if self.address in (None, "auto"):
            return
        host, _, port = self.address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), _KNOCKING).close()
        except (OSError, OverflowError) as error:  # the port may be no port
            raise unreachable(self.address, f"where nothing answers ({error})") from error

    def _message(self) -> Any:
        """The next message of the process that is connected; None if there is none yet."""
        assert self._driver is not None
        wait([self._driver.connection], POLL)
        try:
            content = self._driver.receive()
        except EOFError:
            raise lost(f"the process that is connected to it has ended, {self._driver.end()}") from None
        message = None if content is None else pickle.loads(content)
        if isinstance(message, WorkersLost):
            raise message
        return message

    def _send(self, requests: Mapping[int, bytes]) -> None:
        assert self._driver is not None
        self._driver.send(pickle.dumps(dict(requests)))


def lost(why: str) -> WorkersLost:
    """The error for a cluster that is gone in the middle of a run."""
    return WorkersLost(f"the Ray cluster is lost ({why}); start it again, and resume the run")


def unreachable(address: str | None, why: str) -> WorkersUnreachable:
    """The error for an ``address`` without a cluster that can be used."""
    return WorkersUnreachable(
        f"ray.address: got {address or 'null'}, {why}; allowed are null, and auto, HOST:6379 or ray://HOST:10001 of a "
        "running cluster, which starts with: ray start --head"
    )


def _drive(connection: Connection, *arguments: Any) -> None:
    from snn4.agent.evolution.ray_driver import drive  # Ray takes seconds to import, here and not in a life

    drive(connection, *arguments)
