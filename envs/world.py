"""The world: an ordered stream of tasks that can be left and entered again at any point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar


@dataclass(frozen=True)
class TaskConfig:
    """One stay in a Gymnasium environment."""

    environment: str
    """Gymnasium id; a later task with the same id is a return to it."""
    steps: int
    """Environment steps to live here."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``gymnasium.make``."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: got {self.steps}, allowed is a whole number >= 1")


TaskT = TypeVar("TaskT", bound=TaskConfig)


class World(Generic[TaskT]):
    """Tasks in order, and the place in it: ``position`` counts finished tasks.

    >>> world = World([TaskConfig("CartPole-v1", 100), TaskConfig("Acrobot-v1", 100)])
    >>> [task.environment for task in world.remaining()]
    ['CartPole-v1', 'Acrobot-v1']
    >>> world.position
    2
    """

    def __init__(self, tasks: Sequence[TaskT], position: int = 0) -> None:
        if not 0 <= position <= len(tasks):
            raise ValueError(f"position: got {position}, allowed is 0 to {len(tasks)}, the number of tasks")
        self.tasks, self.position = tuple(tasks), position

    def remaining(self) -> Iterator[TaskT]:
        """Tasks from the present place on; ``position`` moves when the caller comes back for the next."""
        while self.position < len(self.tasks):
            yield self.tasks[self.position]
            self.position += 1

    @property
    def seen(self) -> list[TaskT]:
        """One task for each environment met so far, the present one included."""
        met = {task.environment: task for task in self.tasks[: self.position + 1]}
        return list(met.values())
