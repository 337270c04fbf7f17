"""The story of any run: it begins, the work is done, checkpoints are written, it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from snn4.agent.run.events import Began, Ended, Event, Noted, Saved
from snn4.agent.run.work import File, Model, Pause, Stop, Work


def story(
    work: Work, began: Began, stop: Stop, save: Callable[[], Saved], keep: Callable[[Model | File], None]
) -> Iterator[Event]:
    """All events of a run.

    Args:
        work: what is done.
        began: the first event.
        stop: the work calls it; True ends the work after a checkpoint.
        save: writes a checkpoint of the work's state.
        keep: writes a model, or lets the work write a file.
    """
    yield began
    yield from (Noted(note) for note in work.notes)
    for part in work.live(stop):
        match part:
            case Pause():
                yield save()
            case Model() | File():
                keep(part)
            case _:
                yield part
    yield Ended("finished" if work.finished else "interrupted", work.age)


def beginning(work: Work, name: str, seed: int, resumed: bool) -> Began:
    """The first event of a run of ``work``."""
    return Began(
        name, seed, work.tasks, work.genome, [being.name for being in work.beings], work.age, resumed,
        work.unit, work.measure,
    )  # fmt: skip
