"""Lives that are killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from run_folders import untimed
from stories import Story, after

from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life
from snn4.agent.run.events import Entered, Event, Learned, Saved


class Whole(NamedTuple):
    life: Life
    events: list[Event]


@pytest.fixture
def whole(tmp_path: Path) -> Callable[[LifeConfig], Whole]:
    """A life, lived to its end.

    Asserts that a life that goes on from a checkpoint (in the middle, within the last task, from the first two between
    tasks or beings, from the last of all) does what it did, bit by bit.
    """

    def live(config: LifeConfig) -> Whole:
        life = Life(config)
        events = Story(life, tmp_path).tell()
        places = [place for place, event in enumerate(events, 1) if isinstance(event, Saved)]
        between = [n for n, place in enumerate(places, 1) if isinstance(events[place], Entered)]
        within = [n for n, place in enumerate(places, 1) if isinstance(events[place], Learned)]
        for number in sorted({within[(len(within) - 1) // 2], within[-1], *between[:2], len(places)}):
            again = Life(config)
            story = Story(again, tmp_path)
            assert story.restore(number) == f"checkpoints/{number:06d}"
            assert _unnumbered(after(story.tell())) == _unnumbered(events[places[number - 1] :]), number
            assert untimed(again.summary()) == untimed(life.summary())
        return Whole(life, events)

    return live


def _unnumbered(events: list[Event]) -> list[Event]:
    """Without the numbers of checkpoints: those that are there already count on."""
    return [Saved("", event.age) if isinstance(event, Saved) else event for event in events]
