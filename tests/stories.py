"""Works of any kind, done without a run folder but for their checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from snn4.agent.run import checkpoint
from snn4.agent.run.events import Began, Entered, Event, Saved
from snn4.agent.run.story import beginning, story
from snn4.agent.run.work import Model, Work


class Story:
    """A work, and the checkpoints that it writes below ``folder``."""

    def __init__(self, work: Work, folder: Path) -> None:
        self.work, self.folder = work, folder
        self.models: list[Model] = []
        self.resumed = False

    def events(self, stop: Callable[[], bool] = lambda: False) -> Any:
        """What happens, one by one."""
        began = beginning(self.work, "x", 0, self.resumed)
        return story(self.work, began, stop, self._save, self.models.append)

    def tell(self, stop: Callable[[], bool] = lambda: False) -> list[Event]:
        """All that happens."""
        return list(self.events(stop))

    def tell_until(self, condition: Callable[[Event], bool]) -> list[Event]:
        """What happens if it is asked to stop from the first event on that fulfils ``condition``."""
        events: list[Event] = []
        for event in self.events(lambda: any(map(condition, events))):
            events.append(event)  # noqa: PERF402  (the condition looks at them meanwhile)
        return events

    def restore(self, number: int | None = None) -> str | None:
        """Go back to a checkpoint, or the newest, and name it."""
        folder = self.folder / checkpoint.CHECKPOINTS
        if number is not None:
            only = self.folder / f"only {number}"
            shutil.copytree(folder / f"{number:06d}", only / f"{number:06d}", dirs_exist_ok=True)
            folder = only
        saved = checkpoint.load(folder)
        self.resumed = True
        if saved is None:
            return None
        self.work.load_state(saved.state)
        self.work.notes += saved.notes
        return saved.place

    def _save(self) -> Saved:
        folder = self.folder / checkpoint.CHECKPOINTS
        path = checkpoint.save(folder, self.work.state(), {}, "", keep=99)
        return Saved(f"{checkpoint.CHECKPOINTS}/{path.name}", self.work.age)


def of(kind: type[Any], events: Sequence[Event], **fields: Any) -> list[Any]:
    """Events of one kind, with these values in their fields."""
    chosen = [event for event in events if isinstance(event, kind)]
    return [event for event in chosen if all(getattr(event, name) == value for name, value in fields.items())]


def after(events: Sequence[Event]) -> list[Event]:
    """What a resumed work did, without the words that it begins with again."""
    began, *rest = events
    assert isinstance(began, Began)
    assert began.resumed
    # It enters the task again in which it was left.
    return rest[1:] if isinstance(rest[0], Entered) and rest[0].step else rest
