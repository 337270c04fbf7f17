"""The protocol of all that can be done in a run, and what it may yield."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from torch import Tensor

from snn4.agent.run.events import Event, Task

State = dict[str, Any]
"""``model`` (what was learned) and ``learner`` (what learning goes on from): nested plain data, tensors and arrays."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Pause:
    """The work's `Work.state` is whole now: the story writes a checkpoint."""


@dataclass(frozen=True, eq=False)
class Model:
    """Weights that are to lie in the run folder as ``<name>.safetensors``, replacing earlier ones."""

    name: str
    weights: Mapping[str, Tensor]
    about: Mapping[str, Any]
    """Plain data: what the weights are for and how good they are."""


class Named(Protocol):
    """Somebody who takes part."""

    name: str


class Work(Protocol):
    """What is done in a run. It tells its story as events, and knows no folder, no journal and no terminal."""

    unit: str
    """What its age counts: steps, or images."""
    measure: Literal["return", "accuracy"]
    """What ``return_mean`` of its scores is."""
    notes: list[str]
    """What a reader of the log should know; told after the beginning."""

    @property
    def tasks(self) -> list[Task]:
        """Name and size of each task, in order."""

    @property
    def beings(self) -> Sequence[Named]:
        """Who does it, one after the other."""

    @property
    def genome(self) -> dict[str, float]:
        """The evolvable values."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Plain data that must be the same when the run goes on, as the training data."""

    @property
    def age(self) -> int:
        """Units done, by all beings."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""

    def live(self, stop: Callable[[], bool]) -> Iterator[Event | Pause | Model]:
        """Do what is left, or until ``stop`` says True: then it ends after a last `Pause`."""

    def state(self) -> State:
        """What `load_state` goes on from."""

    def load_state(self, state: State) -> None:
        """Go on from where `state` was taken."""

    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` holds, but for seed, commit and config."""


class Processes(Protocol):
    """The processes that do one work together; each of them runs the whole command from its beginning."""

    @property
    def leads(self) -> bool:
        """Whether this process writes and shows."""

    def broadcast(self, value: Value) -> Value:
        """The ``value`` of the leading process, in all of them."""

    def barrier(self) -> None:
        """Wait for all."""


class OneProcess:
    """No others."""

    leads = True

    def broadcast(self, value: Value) -> Value:
        return value

    def barrier(self) -> None:
        """Nobody to wait for."""
