"""What happens in a run. The journal writes events, the dashboard draws them, ``watch`` replays them from the file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypedDict

from snn4.agent.run.old_events import translated

Score = dict[str, Any]
"""What was measured in one task: ``return_mean`` (an accuracy is a return), and the cost of a decision by name."""


class Task(TypedDict):
    """A task as events name it."""

    environment: str
    """Its name: by default the environment, the experience or the data set."""
    steps: int
    """Environment steps, or images, to be learned from."""


@dataclass(frozen=True)
class Event:
    """Equal events of two runs differ at most in the seconds they took (and what follows from them, as speeds)."""

    event: ClassVar[str] = "event"

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the name of the event under ``event``."""
        return {"event": self.event, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class Began(Event):
    """A run starts, or goes on (``resumed``) at ``age``."""

    event: ClassVar[str] = "began"
    name: str
    seed: int
    tasks: list[Task]
    """In order."""
    genome: dict[str, float]
    beings: list[str]
    """Who goes through the tasks: the spiking one, and ``ann_twin`` if it is compared."""
    age: int = 0
    """Environment steps or images, of all beings together."""
    resumed: bool = False
    unit: str = "steps"
    """Of age and steps: steps, or images."""
    measure: Literal["return", "accuracy"] = "return"
    """What ``return_mean`` is."""


@dataclass(frozen=True)
class Entered(Event):
    """A task begins, or is gone on with, for ``being``."""

    event: ClassVar[str] = "entered"
    being: str
    task: str
    number: int
    """Of the task, from 0."""
    step: int
    steps: int
    ann_energy_joules: dict[str, float | None] = field(default_factory=dict)
    """Joules per decision of an untrained ANN of the same widths, by energy model."""


@dataclass(frozen=True)
class Learned(Event):
    """A piece of learning."""

    event: ClassVar[str] = "learned"
    being: str
    task: str
    number: int
    step: int
    """Steps of the task so far, of ``steps``; replayed samples are not counted."""
    steps: int
    age: int
    episode_return: float | None
    """Mean of the last episodes; of images the accuracy since the last such event, augmented as they were."""
    spike_rates: list[float]
    """Spikes per neuron and inner step of each layer."""
    losses: dict[str, float]
    """Numbers of the learner by name: losses, learning rate."""
    seconds: float = field(compare=False, default=0.0)
    """Since the last such event."""
    epoch: int | None = None
    """Epochs that are over, where there are epochs."""
    T: int | None = None
    """Inner steps, where the recipe changes them."""


@dataclass(frozen=True)
class Evaluated(Event):
    """A test of ``being`` as it is now."""

    event: ClassVar[str] = "evaluated"
    being: str
    task: str
    """What was learned last."""
    age: int
    scores: dict[str, Score]
    """Of each task seen so far; of a stream's experiences also of those to come."""
    best: bool = False
    """Whether this is the best validation of the present task so far."""
    part: Literal["validation", "test"] = "validation"
    """Of the data or episodes."""
    number: int = 0
    """Tasks, or epochs, that are over; of a life, the number of the present task, from 0."""
    memory_bytes: int | None = None
    """What a strategy against forgetting keeps besides the network."""
    replay_bytes: int | None = None
    """What of that are samples."""
    seconds: float = field(compare=False, default=0.0)


@dataclass(frozen=True)
class Compared(Event):
    """The spiking one beside its ANN twin, both tested."""

    event: ClassVar[str] = "compared"
    scores: dict[str, Score] = field(compare=False)
    ann_twin: dict[str, Score] = field(compare=False)


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was written."""

    event: ClassVar[str] = "saved"
    path: str
    age: int
    bytes: int = field(compare=False, default=0)
    seconds: float = field(compare=False, default=0.0)


@dataclass(frozen=True)
class Noted(Event):
    """Something a reader of the log should know."""

    event: ClassVar[str] = "noted"
    text: str


@dataclass(frozen=True)
class Ended(Event):
    """The run is over (``finished``) or was left (``interrupted``, ``failed``)."""

    event: ClassVar[str] = "ended"
    state: str
    age: int
    text: str = ""


EVENTS: dict[str, type[Event]] = {
    event.event: event for event in (Began, Entered, Learned, Evaluated, Compared, Saved, Noted, Ended)
}


def from_json(data: dict[str, Any]) -> Event:
    """The event that `Event.to_json` wrote, also in version 0.1; fields that are not known here are ignored."""
    data = translated(data)
    event = EVENTS[data["event"]]
    known = {f.name for f in dataclasses.fields(event)}
    return event(**{name: value for name, value in data.items() if name in known})
