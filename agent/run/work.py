"""The protocol of the work in a run, and what it may yield."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor

from snn4.agent.run.events import Event, Measure, Score, Task

State = dict[str, Any]
"""``model`` (what was learned) and ``learner`` (what learning continues from): nested plain data, tensors, arrays."""
Stop = Callable[[], bool]
"""The work calls it between two steps; True asks it to stop."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Pause:
    """`Work.state` is complete now: the story writes a checkpoint."""


@dataclass(frozen=True, eq=False)
class Model:
    """Weights to be written to ``<name>.safetensors`` in the run folder; they replace earlier ones."""

    name: str
    weights: Mapping[str, Tensor]
    about: Mapping[str, Any]
    """Plain data: what the weights are for and how good they are."""


@dataclass(frozen=True, eq=False)
class File:
    """A file in the run folder that the work writes itself, whole or not at all."""

    name: str
    write: Callable[[Path], None]


class Named(Protocol):
    """A being that takes part in a run."""

    name: str


class Work(Protocol):
    """The work of a run. It yields its story as events, and knows no folder, no journal and no terminal."""

    unit: str
    """Unit of its age: steps, or images."""
    measure: Measure
    notes: list[str]
    """Lines for the log, written after the first event."""

    @property
    def tasks(self) -> list[Task]:
        """Name and size of each task, in order."""

    @property
    def beings(self) -> Sequence[Named]:
        """Who does the work, one after the other."""

    @property
    def genome(self) -> dict[str, float]:
        """The evolvable values."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Plain data that must be the same when the run continues, for instance of the training data."""

    @property
    def age(self) -> int:
        """Units done by all beings together."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""

    def live(self, stop: Stop) -> Iterator[Event | Pause | Model | File]:
        """Do the rest of the work. Once ``stop`` returns True, yield a last `Pause` and end."""

    def state(self) -> State:
        """Everything that `load_state` needs to continue."""

    def load_state(self, state: State) -> None:
        """Continue from ``state``."""

    def summary(self) -> dict[str, Any]:
        """The content of ``summary.json`` without seed, commit and config."""


class Validated(Work, Protocol):
    """A work that can end before its test, so that one config can be chosen among many on validation data."""

    def validated(self, stop: Stop) -> dict[str, Score] | None:
        """Do the work of the first being, and measure it on validation data: score with costs per decision, by task.

        None once ``stop`` has returned True.

        Raises:
            NotFinite, Silent: it cannot be measured.
        """


class Processes(Protocol):
    """The processes that do one work together; each runs the whole command from its beginning."""

    @property
    def leads(self) -> bool:
        """Whether this process writes and shows."""

    def broadcast(self, value: Value) -> Value:
        """The ``value`` of the leading process, in all of them."""

    def barrier(self) -> None:
        """Wait until all processes are here."""


class OneProcess:
    """A process that works alone."""

    leads = True

    def broadcast(self, value: Value) -> Value:
        return value

    def barrier(self) -> None:
        """Return at once."""
