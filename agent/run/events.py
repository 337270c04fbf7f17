"""The events of a run. The journal writes them, the dashboard draws them, ``watch`` replays them from the file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypedDict

from snn4.agent.run.old_events import translated

Score = dict[str, Any]
"""Measurements in one task: ``return_mean`` (an accuracy is a return), and costs per decision by name."""


Measure = Literal["return", "accuracy"]
"""Meaning of ``return_mean`` in a run."""
PARENT = -1
"""Number of the organism among the candidates of `Evolved`."""


class Task(TypedDict):
    """A task in an event."""

    environment: str
    """Its name: by default that of the environment, the experience or the data set."""
    steps: int
    """Environment steps, or images, to learn from."""


@dataclass(frozen=True)
class Event:
    """Anything that happens in a run. Equality ignores seconds, and values that depend on them."""

    event: ClassVar[str] = "event"

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``event`` holds the name of the event."""
        return {"event": self.event, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class Began(Event):
    """A run starts, or continues (``resumed``) at ``age``."""

    event: ClassVar[str] = "began"
    name: str
    seed: int
    tasks: list[Task]
    """In order."""
    genome: dict[str, float]
    beings: list[str]
    """Who goes through the tasks: the spiking network, and ``ann_twin`` if it is compared."""
    age: int = 0
    """Environment steps or images of all beings together."""
    resumed: bool = False
    unit: str = "steps"
    """Unit of ages and steps: steps, or images."""
    measure: Measure = "return"


@dataclass(frozen=True)
class Entered(Event):
    """``being`` begins a task, or continues it after a checkpoint."""

    event: ClassVar[str] = "entered"
    being: str
    task: str
    number: int
    """Number of the task, from 0."""
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
    """Steps of the task so far, out of ``steps``; replayed samples do not count."""
    steps: int
    age: int
    episode_return: float | None
    """Mean over the last episodes; for images the accuracy since the last such event, on augmented images."""
    spike_rates: list[float]
    """Of each layer: spikes per neuron and inner step."""
    losses: dict[str, float]
    """The learner's numbers by name: losses, learning rate."""
    seconds: float = field(compare=False, default=0.0)
    """Since the last such event."""
    epoch: int | None = None
    """Finished epochs, where there are epochs."""
    T: int | None = None
    """Inner steps, where the recipe changes them."""
    acting_seconds: float | None = field(compare=False, default=None)
    """Of ``seconds``, in rollouts of reinforcement learning."""


@dataclass(frozen=True)
class Evaluated(Event):
    """A test of ``being`` in its present state."""

    event: ClassVar[str] = "evaluated"
    being: str
    task: str
    """The task learned last."""
    age: int
    scores: dict[str, Score]
    """By task, for all tasks so far; in a stream also for experiences to come."""
    best: bool = False
    """Whether this is the best validation of the present task so far."""
    part: Literal["validation", "test"] = "validation"
    """Part of the data or episodes."""
    number: int = 0
    """Finished tasks or epochs; in a life, the number of the present task, from 0."""
    memory_bytes: int | None = None
    """Memory of a strategy against forgetting, without the network."""
    replay_bytes: int | None = None
    """The share of samples in ``memory_bytes``."""
    seconds: float = field(compare=False, default=0.0)


@dataclass(frozen=True)
class Evolved(Event):
    """News of a generation: it begins, a part of its trials has ended, or it has ended and the organism wakes up."""

    event: ClassVar[str] = "evolved"
    being: str
    task: str
    generation: int
    """Number, from 0."""
    asleep: bool
    """False when the generation has ended."""
    candidates: list[dict[str, Any]]
    """Of each: ``number`` (`PARENT` is the organism as it fell asleep), ``genes`` that differ from the organism's,
    ``scores`` by objective, ``steps`` learned, and why it was ``stopped``, if it was."""
    genes: dict[str, Any]
    """The organism's genes, after a generation those with which it wakes up."""
    age: int
    adopted: int | None = None
    """Number of the candidate that the organism has become."""
    reason: str = ""
    """Why it became that, or why no other was adopted."""
    next_step: int | None = None
    """Step of the task after which it sleeps again; None if it will not in this task."""
    seconds: float = field(compare=False, default=0.0)
    """Of all trials so far, of all workers together."""


@dataclass(frozen=True)
class Compared(Event):
    """The test of the spiking network beside that of its ANN twin."""

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
    """A note for readers of the log."""

    event: ClassVar[str] = "noted"
    text: str


@dataclass(frozen=True)
class Ended(Event):
    """The run has ended: ``finished``, ``interrupted`` or ``failed``."""

    event: ClassVar[str] = "ended"
    state: str
    age: int
    text: str = ""


EVENTS: dict[str, type[Event]] = {
    event.event: event for event in (Began, Entered, Learned, Evaluated, Evolved, Compared, Saved, Noted, Ended)
}


def from_json(data: dict[str, Any]) -> Event:
    """The event that `Event.to_json` wrote, also in version 0.1; unknown fields are ignored."""
    data = translated(data)
    event = EVENTS[data["event"]]
    known = {f.name for f in dataclasses.fields(event)}
    return event(**{name: value for name, value in data.items() if name in known})
