"""``snn4-agent`` in processes of its own, which tests kill and interrupt.

To import everything takes much longer than the runs: one process does so, the others are its forks.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from run_folders import events_in, only

from snn4.agent.run.events import Began, Evolved, Learned

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "pytest",
        "snn4.agent.runner",
        "snn4.agent.life.kind",
        "snn4.agent.training.kind",
        "snn4.agent.search.search",
        "torch.utils.tensorboard",
    ]
)
COMMAND = """
import os, resource, sys
sys.path.insert(0, here)
import toy_kind
from snn4.agent.cli import main
toy_kind.install()
for stream, path in ((1, out), (2, err)):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
os.environ["COLUMNS"] = "200"
if largest_file:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
sys.argv = ["snn4-agent", *arguments]
main()
"""


class Command:
    """``snn4-agent`` with these arguments, in a process of its own, which can write no file of more than so many bytes.

    What it says goes to files in ``folder``.
    """

    def __init__(self, folder: Path, *arguments: str | Path, largest_file: int | None = None) -> None:
        number = len(list(folder.glob("*.out")))
        self.out, self.err = (folder / f"{number}.{stream}" for stream in ("out", "err"))
        known: dict[str, Any] = {"arguments": [str(argument) for argument in arguments], "largest_file": largest_file}
        known |= {"out": str(self.out), "err": str(self.err), "here": str(Path(__file__).parent)}
        self.process = FORKED.Process(target=exec, args=(COMMAND, known), daemon=True)
        self.process.start()
        wait_for(self.err.is_file)

    def send(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def done(self) -> tuple[int | None, str, str]:
        """Exit status, output and errors, once it has ended."""
        self.process.join(200)
        return self.process.exitcode, self.out.read_text(), self.err.read_text()


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


def wait_for_learning(runs: Path, command: Command) -> Path:
    """Until ``command`` has begun or gone on with the run below ``runs`` and has learned something, or has ended."""

    def learning() -> bool:
        if command.process.exitcode is not None:
            return True
        events = [event for path in runs.glob("*/events.jsonl") for event in events_in(path.parent)]
        since = list(itertools.takewhile(lambda event: not isinstance(event, Began), reversed(events)))
        return any(isinstance(event, (Learned, Evolved)) for event in since) and path_is_new()

    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/events.jsonl")}

    def path_is_new() -> bool:
        return any(path.stat().st_mtime_ns > before.get(path, 0) for path in runs.glob("*/events.jsonl"))

    wait_for(learning)
    return only(runs)
