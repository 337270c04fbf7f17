"""Where the beings of a run are, according to its journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from snn4.agent.run.events import Entered, Evaluated, Event, Learned


@dataclass(frozen=True)
class Place:
    """A being is at ``step`` of the task with ``number``."""

    number: int = 0
    step: int = 0
    tested: bool = False
    """Whether its last event is a test, which ends lives and trainings."""

    def progress(self, number: int, steps: int) -> str:
        """How far the being is in the task with ``number``, which has ``steps``."""
        if self.tested or number < self.number:
            return "done"
        if number > self.number:
            return ""
        return f"{self.step:,} ({self.step / steps:.0%})"


def places(events: Iterable[Event]) -> dict[str, Place]:
    """The place of each being."""
    known: dict[str, Place] = {}
    for event in events:
        match event:
            case Entered() | Learned():
                known[event.being] = Place(event.number, event.step)
            case Evaluated():
                before = known.get(event.being, Place())
                known[event.being] = Place(max(event.number, before.number), before.step, event.part == "test")
    return known
