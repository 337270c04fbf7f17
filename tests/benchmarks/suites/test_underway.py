"""What a bar says of the run that is going on."""

from __future__ import annotations

from pathlib import Path

import pytest

from snn4.agent.run.events import Began, Learned, Noted
from snn4.agent.run.journal import Journal
from snn4.benchmarks.suites.underway import share, underway

BEGAN = Began(
    "x", 0, [{"environment": "A", "steps": 100}, {"environment": "B", "steps": 50}], {}, ["organism", "ann_twin"]
)


def learned(being: str, number: int, step: int, steps: int) -> Learned:
    return Learned(being, "AB"[number], number, step, steps, step, None, [], {})


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (learned("organism", 0, 50, 100), 0.125),
        (learned("organism", 1, 25, 50), 0.375),
        (learned("ann_twin", 0, 0, 100), 0.5),
        (learned("ann_twin", 1, 60, 50), 1.0),  # a rollout goes past the end
        (learned("pupil", 0, 50, 100), 0.0),  # of whom nothing was announced
    ],
)
def test_beings_and_tasks_take_equally_long(event: Learned, expected: float) -> None:
    assert share(BEGAN, event) == expected


def test_the_newest_journal_says_where_its_run_is(tmp_path: Path) -> None:
    assert underway(tmp_path) is None
    with Journal.create(tmp_path, "x", "", {}) as journal:
        assert underway(tmp_path) is None
        journal.write(BEGAN)
        assert underway(tmp_path) is None
        journal.write(learned("organism", 0, 50, 100))
        for _ in range(3):
            journal.write(Noted("a note " * 100))
        assert underway(tmp_path) == ("SNN A 50/100", 0.125)
