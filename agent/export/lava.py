"""Lava in a process of its own: it can crash, and it can hang without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from snn4.agent.errors import CannotGoOn

SILENCE = 120.0
"""Seconds without a line of output after which Lava counts as hanging."""
_LAST_LINES = 15
_GRACE = 5.0


class LavaFailed(CannotGoOn):
    """Lava crashed, or hung until it was ended; its last lines are in the message."""


def run_lava(python: Path, script: Path, arguments: Sequence[str | Path], silence: float = SILENCE) -> str:
    """Run ``script`` in the side environment, and return its output.

    Args:
        python: from `lava_env.find_lava`.
        script: alone in its folder: Lava executes the neighbours of a file that defines a process.
        arguments: of the script.
        silence: seconds without a line of output after which it is ended. An exception inside a process of Lava is
            such a case: the others wait for it forever.

    Raises:
        LavaFailed: it ended with an error, or was silent for too long.
    """
    command = [python, "-I", script, *arguments]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            ended = _watch(process, output.fileno(), silence)
        finally:
            _end(process)
        output.seek(0)
        text = output.read()
    if not ended or process.returncode:
        last = "\n".join(text.splitlines()[-_LAST_LINES:])
        why = f"ended with status {process.returncode}" if ended else f"was silent for {silence:g} s, and was ended"
        raise LavaFailed(f"lava: {' '.join(map(str, command))}: {why}; its last lines:\n{last or '(none)'}")
    return text


def _watch(process: subprocess.Popen[bytes], output: int, silence: float) -> bool:
    """Wait until ``process`` ends (True), or has been silent for too long (False)."""
    size, heard = 0, time.monotonic()
    while time.monotonic() - heard < silence:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
            return True
        if (now := os.fstat(output).st_size) != size:
            size, heard = now, time.monotonic()
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End all processes of the session. SIGKILL comes last: after SIGTERM, Python frees Lava's shared memory."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        patience = time.monotonic() + _GRACE
        while time.monotonic() < patience:
            if process.poll() is not None and _has_ended(process.pid):
                return
            time.sleep(0.02)


def _has_ended(group: int) -> bool:
    """Whether no process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False
