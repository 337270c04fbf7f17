"""Where the time of a run went: what its events say, and the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import events_in, only

from snn4.agent.run.events import Evaluated, Event, Learned, Saved
from snn4.agent.show.profile import REST, profile

STORY: list[Event] = [
    Learned("organism", "x", 0, 10, 20, 10, None, [], {}, 3.0, acting_seconds=1.0),
    Learned("organism", "x", 0, 20, 20, 20, None, [], {}, 5.0, acting_seconds=2.5),
    Evaluated("organism", "x", 20, {}, seconds=2.0),
    Saved("checkpoints/000001", 20, seconds=0.5),
    Evaluated("organism", "x", 20, {}, part="test", seconds=1.0),
    Learned("network", "y", 0, 10, 20, 10, None, [], {}, 4.0),
]


def test_every_second_is_somewhere() -> None:
    seconds = profile(STORY, 1.0, 20.0)
    assert seconds.pop("starting: imports, config, checks") == 1.0
    assert seconds == pytest.approx({
        "SNN: acting (rollouts)": 3.5, "SNN: learning (updates)": 4.5, "SNN: validation": 2.0, "checkpoints": 0.5,
        "SNN: test": 1.0, "SNN: learning": 4.0, REST: 3.5,
    })  # fmt: skip


def test_a_life_is_profiled(cli: Callable[..., Any], tiny_yaml: Path, tmp_path: Path) -> None:
    result = cli("run", tiny_yaml, "world.0.steps=64", "--quiet", "--profile", "--runs-dir", tmp_path / "runs")
    assert result.status == 0, result.err
    for name in ("where the time went", "SNN: acting (rollouts)", "SNN: learning (updates)", "SNN: test", "all"):
        assert name in result.out
    learned = [event for event in events_in(only(tmp_path / "runs")) if isinstance(event, Learned)]
    assert learned
    assert all(0 < (event.acting_seconds or 0) < event.seconds for event in learned)
