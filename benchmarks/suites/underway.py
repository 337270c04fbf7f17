"""What the newest run in a folder is doing, from the first and the last lines of its journal."""

from __future__ import annotations

import json
from pathlib import Path

from snn4.agent.run.beings import name_of
from snn4.agent.run.events import Began, Learned, from_json
from snn4.agent.run.journal import EVENTS
from snn4.benchmarks.progress import Now

TAIL = 20_000
"""Bytes at the end of a journal in which the last piece of learning is searched."""


def underway(runs: Path) -> Now | None:
    """The last piece of learning, and its place between the birth of the first being and the end of the last task."""
    try:
        journals = [(path.stat().st_mtime, path) for path in runs.glob(f"*/{EVENTS}")]
        began, learned = _ends(max(journals)[1])
    except (OSError, ValueError):  # no journal yet, or half a line
        return None
    if began is None or learned is None:
        return None
    task = f"{learned.task} {learned.step:,}/{learned.steps:,}"
    return Now(f"{name_of(learned.being)} {task}", share(began, learned))


def share(began: Began, learned: Learned) -> float:
    """How much of a run is done, if every being and every task takes as long as the others."""
    if learned.being not in began.beings or not learned.steps:
        return 0.0
    done = began.beings.index(learned.being) * len(began.tasks) + learned.number + learned.step / learned.steps
    return min(done / (len(began.beings) * len(began.tasks)), 1.0)


def _ends(journal: Path) -> tuple[Began | None, Learned | None]:
    with journal.open("rb") as file:
        began = from_json(json.loads(file.readline()))
        file.seek(max(journal.stat().st_size - TAIL, 0))
        lines = [line for line in file.read().splitlines() if b'"event": "learned"' in line and line.endswith(b"}")]
    learned = from_json(json.loads(lines[-1])) if lines and lines[-1].startswith(b"{") else None
    return began if isinstance(began, Began) else None, learned if isinstance(learned, Learned) else None
