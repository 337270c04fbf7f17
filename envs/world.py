"""The world: an ordered stream of tasks that can be left and entered again at any point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from stable_baselines3.common.vec_env import VecEnv

from snn4.envs.control import make_control
from snn4.envs.data.datasets import DataConfig
from snn4.envs.labelled import Part, make_guessing
from snn4.envs.variations import VariationConfig


@dataclass(frozen=True)
class TaskConfig:
    """One stay in a Gymnasium environment, as registered or varied, or with the images of a data set."""

    environment: str
    """Gymnasium id; with ``data``, only a name."""
    steps: int
    """Length of the stay, in environment steps or images."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``gymnasium.make``."""
    variation: VariationConfig | None = None
    """What differs from the registered environment."""
    name: str = ""
    """A later task of the same name returns to the same encoder and head. The default is the environment and its
    variation: ``CartPole-v1 (gravity 15)``. A variation under the name of its original is drift within one task."""
    data: DataConfig | None = None
    """Images to recognise, instead of an environment to act in."""

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 10**12:
            raise ValueError(f"steps: got {self.steps}, allowed is a whole number >= 1 and <= 10^12")
        if self.data is not None and self.data.is_events:
            raise ValueError(f"data: got {self.data.name}, allowed are images")
        if self.data is not None and (self.variation is not None or self.kwargs):
            key = "variation" if self.variation is not None else "kwargs"
            raise ValueError(f"data: not allowed with {key}; remove {key}")
        if self.data is not None and self.data.alternate_flips:
            raise ValueError("data.alternate_flips: got true, allowed is false: a stay has no epochs")
        varied = f" ({self.variation})" if self.variation and str(self.variation) else ""
        object.__setattr__(self, "name", self.name or f"{self.environment}{varied}")

    @property
    def label(self) -> str:
        """The name in tests and tables: ``name``, plus the variation unless ``name`` contains it. Drift within one task
        has one label for each physics: ``CartPole-v1, length 1``."""
        varied = str(self.variation or "")
        return self.name if varied in self.name else f"{self.name}, {varied}"

    def make(self, n_envs: int, part: Part = "train", cut_after: int | None = None) -> VecEnv:
        """``n_envs`` copies of the environment (see `make_control`), or of a part of the data set (`make_guessing`)."""
        if self.data is not None:
            return make_guessing(self.data, n_envs, part)
        return make_control(self.environment, n_envs, self.kwargs, self.variation, cut_after)


TaskT = TypeVar("TaskT", bound=TaskConfig)


class World(Generic[TaskT]):
    """Tasks in order; ``position`` counts the finished ones.

    Examples:
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
        """Tasks from ``position`` on; ``position`` moves when the caller asks for the next task."""
        while self.position < len(self.tasks):
            yield self.tasks[self.position]
            self.position += 1

    @property
    def seen(self) -> list[TaskT]:
        """The latest stay under each label so far, the present one included."""
        stays = {task.label: task for task in self.tasks[: self.position + 1]}
        return list(stays.values())
