"""What tests read in run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from snn4.agent.run import checkpoint
from snn4.agent.run.events import Event
from snn4.agent.run.journal import read_events

TIMED = ("wall_seconds", "env_steps_per_second", "latency", "latency_seconds", "energy_joules_measured",
         "commit_hash", "commit_dirty")  # fmt: skip
"""What differs between equal runs."""


def read(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text())


def untimed(value: Any) -> Any:
    """A summary without what differs between equal runs."""
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if key not in TIMED}
    return [untimed(inner) for inner in value] if isinstance(value, list) else value


def events_in(folder: Path) -> list[Event]:
    """All events of a run."""
    return [event for _, event, _ in read_events(folder)]


def only(runs: Path) -> Path:
    """The one run folder that is there."""
    (folder,) = runs.iterdir()
    return folder


def through_disk(state: Any, folder: Path) -> Any:
    """``state`` as a checkpoint gives it back."""
    checkpoint.save(folder, {"model": {}, "learner": state}, {}, "")
    saved = checkpoint.load(folder)
    assert saved is not None
    return saved.state["learner"]
