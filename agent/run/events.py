"""What happens in a life. The journal writes events, the dashboard draws them, ``watch`` replays them from the file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

Score = dict[str, Any]
"""One row of ``summary.json`` (see `snn4.agent.evaluation.episodes.summary_row`)."""


@dataclass(frozen=True)
class Event:
    """Equal events of two lives differ at most in the seconds they took (and what follows from them, as speeds)."""

    kind: ClassVar[str] = "event"

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the name of the event under ``event``."""
        return {"event": self.kind, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class Began(Event):
    """A life starts, or goes on (``resumed``) at ``age`` environment steps."""

    kind: ClassVar[str] = "began"
    name: str
    seed: int
    tasks: list[dict[str, Any]]
    """Name (by default the environment) and steps of each task, in order."""
    genome: dict[str, float]
    beings: list[str]
    """Who lives through the tasks: ``organism``, and ``ann_twin`` if it is compared."""
    age: int = 0
    resumed: bool = False


@dataclass(frozen=True)
class Entered(Event):
    """A task begins, or is gone on with, for ``being``."""

    kind: ClassVar[str] = "entered"
    being: str
    task: str
    number: int
    step: int
    steps: int
    ann_energy_joules: dict[str, float | None] = field(default_factory=dict)
    """What a decision of an untrained ANN of the same widths costs here."""


@dataclass(frozen=True)
class Learned(Event):
    """A piece of learning."""

    kind: ClassVar[str] = "learned"
    being: str
    task: str
    number: int
    step: int
    steps: int
    age: int
    episode_return: float | None
    spike_rates: list[float]
    losses: dict[str, float]
    seconds: float = field(compare=False, default=0.0)


@dataclass(frozen=True)
class Evaluated(Event):
    """Validation in every task seen so far; ``final`` is the test at the end of a being's life."""

    kind: ClassVar[str] = "evaluated"
    being: str
    task: str
    age: int
    scores: dict[str, Score]
    best: bool = False
    """Whether this is the best validation of the present task so far."""
    final: bool = False
    seconds: float = field(compare=False, default=0.0)


@dataclass(frozen=True)
class Fitted(Event):
    """A piece of supervised learning."""

    kind: ClassVar[str] = "fitted"
    being: str
    epoch: int
    """Epochs that are over."""
    images: int
    """Images learned from so far, of ``total`` in all epochs."""
    total: int
    T: int | None
    loss: float
    accuracy: float
    learning_rate: float
    new_images: int = 0
    """Images since the last such event, in ``seconds``."""
    seconds: float = field(compare=False, default=0.0)


@dataclass(frozen=True)
class Validated(Event):
    """The validation after an epoch."""

    kind: ClassVar[str] = "validated"
    being: str
    epoch: int
    images: int
    top1: float
    loss: float
    best: bool
    seconds: float = field(compare=False, default=0.0)


@dataclass(frozen=True)
class Studied(Event):
    """A piece of learning from an experience of a stream."""

    kind: ClassVar[str] = "studied"
    being: str
    experience: int
    """Its number, from 0."""
    epoch: int
    """Of this experience, from 0."""
    images: int
    """New images learned from so far, of ``total`` in this experience; replayed ones are not counted."""
    total: int
    loss: float
    accuracy: float
    seconds: float = field(compare=False, default=0.0)
    """Since the last such event."""


@dataclass(frozen=True)
class Recalled(Event):
    """The test on all experiences of a stream after ``learned`` of them: a row of the accuracy matrix."""

    kind: ClassVar[str] = "recalled"
    being: str
    learned: int
    accuracies: list[float]
    """Of each experience, also of those to come."""
    spikes: float | None = None
    """Spikes of all neurons in a decision, mean over the samples of all experiences; None where there are none."""
    memory_bytes: int = 0
    """All that the strategy keeps besides the network (`ContinualLearner.memory_bytes`)."""
    replay_bytes: int = 0
    """What of that are samples."""
    seconds: float = field(compare=False, default=0.0)
    """Of the test."""


@dataclass(frozen=True)
class Compared(Event):
    """The organism beside its ANN twin, both tested."""

    kind: ClassVar[str] = "compared"
    scores: dict[str, Score] = field(compare=False)
    ann_twin: dict[str, Score] = field(compare=False)


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was written."""

    kind: ClassVar[str] = "saved"
    path: str
    age: int
    bytes: int = field(compare=False, default=0)
    seconds: float = field(compare=False, default=0.0)


@dataclass(frozen=True)
class Noted(Event):
    """Something a reader of the log should know."""

    kind: ClassVar[str] = "noted"
    text: str


@dataclass(frozen=True)
class Ended(Event):
    """The life is over (``finished``) or was left (``interrupted``, ``failed``)."""

    kind: ClassVar[str] = "ended"
    state: str
    age: int
    text: str = ""


_KINDS: dict[str, type[Event]] = {
    c.kind: c
    for c in (
        Began, Entered, Learned, Evaluated, Fitted, Validated, Studied, Recalled, Compared, Saved, Noted, Ended,
    )
}  # fmt: skip


def from_json(data: dict[str, Any]) -> Event:
    """The event that `Event.to_json` wrote; fields that this version does not know are ignored."""
    kind = _KINDS[data["event"]]
    known = {f.name for f in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in data.items() if name in known})
