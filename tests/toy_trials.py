"""Trials for workers to run: other processes import them by name."""

from __future__ import annotations

import os
import pickle
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def called(request: bytes) -> bytes:
    """The answer to a request: function and argument."""
    function, argument = pickle.loads(request)
    return pickle.dumps(function(argument))


class Refused(Exception):
    """An error with a constructor of its own."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(what, number)
        self.number = number


def learn(job: tuple[int, torch.Tensor]) -> dict[str, Any]:
    """A little training: some draws from generators that nobody has seeded, and changes to what it gets."""
    import numpy as np
    import torch  # takes most of the time that a process takes to start, and other trials do without

    seed, weights = job
    weights.requires_grad_()
    data = torch.randn(64, len(weights), generator=torch.Generator().manual_seed(seed))
    for _ in range(3):
        loss = (data @ weights + 0.1 * torch.randn(64)).square().mean()
        loss.backward()
        with torch.no_grad():  # an optimizer would take a second to import
            weights -= 0.1 * weights.grad
    draws = (random.random(), np.random.rand())  # noqa: NPY002  # the global generator is what is tried
    return {"weights": weights.tolist(), "draws": draws, "threads": torch.get_num_threads()}


def jobs_of_learning() -> dict[int, tuple[int, torch.Tensor]]:
    import torch

    return {key: (100 + key, torch.linspace(-1, 1, 50)) for key in (3, 5, 8, 2)}


def refuse(number: int) -> None:
    raise Refused("refused", number)


def refuse_strangely(number: int) -> None:
    class Local(Exception):
        """Cannot be pickled."""

    raise Local(f"refused {number}")


def die_once(marker: Path) -> tuple[int, str]:
    """Kill the worker in the first attempt; afterwards, its process and what is in ``marker``."""
    if not marker.exists():
        marker.write_text("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid(), marker.read_text()


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def process(seconds: float) -> int:
    """The worker's process, after so many ``seconds``."""
    time.sleep(seconds)
    return os.getpid()


def ignore_signals(_: int) -> int:
    """The worker's process, after signals that a terminal sends to all processes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    return os.getpid()


def wait_for_file(path: Path) -> None:
    while not path.exists():
        time.sleep(0.005)


def tell_and_sleep(marker: Path) -> None:
    """Write the worker's process into ``marker``, whole, and sleep longer than any test."""
    draft = marker.with_suffix(".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(marker)
    time.sleep(600)


def node(job: tuple[Path, Path]) -> str:
    """Ray's node. The first attempt writes it and its process into the first file; all wait for the second file."""
    import ray

    marker, end = job
    here = ray.get_runtime_context().get_node_id()
    if not marker.exists():
        draft = marker.with_suffix(".draft")
        draft.write_text(f"{here} {os.getpid()}")
        draft.rename(marker)
    wait_for_file(end)
    return here


def is_running(process: int) -> bool:
    """Whether a process runs. In /proc, one that has ended but still has an entry has no command line."""
    try:
        os.kill(process, 0)
        return not Path("/proc/self").exists() or bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except (ProcessLookupError, FileNotFoundError):
        return False
