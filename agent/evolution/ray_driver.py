"""The driver of Ray: a process that hands trials to a cluster, and their answers back."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a life does not phone home
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # trials may use the GPUs that are there

import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from snn4.agent.evolution.attempts import attempt
from snn4.agent.evolution.ray_workers import lost, unreachable
from snn4.agent.evolution.trials import POLL, Losses, WorkersLost, WorkersUnreachable

_WORKER_LOST = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.ObjectLostError,
    exceptions.OutOfMemoryError,
)
_ANSWERING = 20
"""Seconds in which each machine must tell its version."""


def drive(connection: Connection, address: str | None, workers: int, retries: int, version: str) -> None:
    """Connect to the cluster at ``address``, and run the trials that come until the connection is closed."""
    _silence()
    try:
        _connect(address, workers)
        if address is not None:
            _check_versions(address, version)
    except WorkersUnreachable as error:
        connection.send_bytes(pickle.dumps(error))
        return
    connection.send_bytes(pickle.dumps("connected"))
    try:
        while True:
            requests = pickle.loads(connection.recv_bytes())
            for message in _answers(requests, Losses(retries), connection):
                connection.send_bytes(pickle.dumps(message))
    finally:
        ray.shutdown()


def _silence() -> None:
    """Ray and its processes write into the terminal, where a dashboard may be; their log files stay."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _connect(address: str | None, workers: int) -> None:
    # The processes of a cluster inherit how signals are handled: they must obey SIGTERM, which Ray ends them with.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    own: dict[str, Any] = {}
    if address is None:
        own = {"num_cpus": workers, "include_dashboard": False}
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # workers import what this process would import
    try:
        ray.init(address or "local", **own, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # ConnectionError, RuntimeError for another version of Ray, …
        token = "; if it wants a token, set RAY_AUTH_MODE=token here, too" if address is not None else ""
        raise unreachable(address, f"to which Ray cannot connect ({_line(error)}{token})") from error
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _check_versions(address: str, version: str) -> None:
    """Raise WorkersUnreachable unless each machine with cores has this ``version`` of this package."""

    def installed() -> str | None:  # inside a function, so that Ray sends its code and not its name
        try:
            import snn4
        except ImportError:
            return None
        return snn4.__version__

    ask = ray.remote(num_cpus=0)(installed)
    asked = []
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked.append((node["NodeManagerAddress"], ask.options(scheduling_strategy=there).remote()))
    for machine, answer in asked:
        try:
            found = ray.get(answer, timeout=_ANSWERING)
        except (exceptions.TaskUnschedulableError, exceptions.NodeDiedError):
            continue  # it has left the cluster
        except exceptions.RayError as error:
            raise unreachable(address, f"whose machine {machine} runs nothing ({_line(error)})") from error
        if found != version:
            has = "no snn4-agent" if found is None else f"snn4-agent {found}"
            raise unreachable(address, f"whose machine {machine} has {has} where {version} is needed")


def _answers(
    requests: dict[int, bytes], losses: Losses, connection: Connection
) -> Iterator[tuple[int, bytes] | str | WorkersLost]:
    """Key and answer of each request, as they come, then "done"; only an error if the cluster is lost."""
    try:
        yield from _attempts(requests, losses, connection)
    except EOFError:
        raise
    except WorkersLost as error:
        yield error
    except Exception as error:  # Ray's errors have no common base
        yield lost(_line(error))
    else:
        yield "done"


def _attempts(requests: dict[int, bytes], losses: Losses, connection: Connection) -> Iterator[tuple[int, bytes]]:
    task = ray.remote(num_cpus=1, max_retries=0)(attempt)  # Ray would retry without end where memory is short
    running = {task.remote(content): key for key, content in requests.items()}
    while running:
        ready, _ = ray.wait(list(running), timeout=POLL)
        for reference in ready:
            key = running.pop(reference)
            try:
                answer = ray.get(reference)
            except _WORKER_LOST as error:
                losses.add(key, type(error).__name__)
                running[task.remote(requests[key])] = key
                continue
            yield key, answer
        if connection.poll():
            raise EOFError  # nothing is sent before "done": the connection has been closed


def _line(error: Exception) -> str:
    """The first line of Ray's messages of many lines."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
