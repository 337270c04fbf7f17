"""Lava's process is ended when it crashes or hangs, and its last lines are shown."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from snn4.agent.export.lava import LavaFailed, run_lava

CHILD = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\nprint(os.getpid(), flush=True)\n"
"""A script whose child goes on when it ends."""


def script(folder: Path, text: str) -> Path:
    path = folder / "run.py"
    path.write_text(text)
    return path


def test_output_is_returned(tmp_path: Path) -> None:
    path = script(tmp_path, "import sys\nprint(sys.argv[1])\nprint('error', file=sys.stderr)")
    assert set(run_lava(Path(sys.executable), path, ["seven"]).split()) == {"seven", "error"}


def test_a_crash_shows_the_last_lines(tmp_path: Path) -> None:
    path = script(tmp_path, CHILD + "raise ValueError('too large')")
    with pytest.raises(LavaFailed, match=r"(?s)ended with status 1; .*ValueError: too large") as caught:
        run_lava(Path(sys.executable), path, [])
    assert group_has_ended(int(str(caught.value).splitlines()[1]))


def test_a_hanging_process_is_ended_with_its_children(tmp_path: Path) -> None:
    path = script(tmp_path, CHILD + "time.sleep(60)")
    with pytest.raises(LavaFailed, match=r"was silent for 1 s, and was ended; its last lines:\n\d+") as caught:
        run_lava(Path(sys.executable), path, [], silence=1)
    assert group_has_ended(int(str(caught.value).splitlines()[1]))


def group_has_ended(number: int) -> bool:
    """Whether no process of the group runs; those that wait for their parent have ended, too."""
    states = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == number:
            states.append(fields[0])
    return all(state == "Z" for state in states)
