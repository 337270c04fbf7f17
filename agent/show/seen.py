"""The data of a run's picture, collected from its events."""

from __future__ import annotations

from collections import defaultdict, deque
from datetime import datetime
from typing import Any

from snn4.agent.run.beings import TWINS
from snn4.agent.run.events import Began, Ended, Entered, Evaluated, Event, Evolved, Learned
from snn4.agent.show.generations import Generations
from snn4.agent.show.view import ENERGY_MODEL, Pace, describe, stamped


class Seen:
    """Data from events alone, so that any journal can be drawn again."""

    def __init__(self) -> None:
        self.began = Began(name="…", seed=0, tasks=[], genome={}, beings=[])
        """A placeholder until the run has begun."""
        self.entered: Entered | None = None
        self.learned: Learned | None = None
        self.pace = Pace()
        self.state = "running"
        self.log: deque[str] = deque(maxlen=8)
        self.returns: dict[str, list[float]] = defaultdict(list)
        """Returns of each being during learning."""
        self.scores: dict[str, dict[str, float]] = defaultdict(dict)
        """Latest return of each being in each task."""
        self.rows: dict[str, list[Evaluated]] = defaultdict(list)
        """Tests of each being; in a stream, the test after each experience."""
        self.left: dict[tuple[str, int], float] = {}
        """Return of a being at the end of a task, by the task's number."""
        self.joules: dict[str, float] = {}
        """Joules per decision of the spiking being in each task."""
        self.ann_joules: dict[str, float] = {}
        self.spike_rates: list[float] = []
        self.generations = Generations()
        self._evolving: set[str] = set()
        """All genes that evolution has named; some are gone with the kind of neuron or code that had them."""

    @property
    def is_stream(self) -> bool:
        """Whether scores are accuracies of several tasks, which make a matrix."""
        return self.began.measure == "accuracy" and len(self.began.tasks) > 1

    @property
    def asleep(self) -> bool:
        """Whether candidates of a generation live."""
        latest = self.generations.latest
        return latest is not None and latest.event.asleep and self.state == "running"

    @property
    def genome(self) -> dict[str, Any]:
        """The present genes, those that evolve first."""
        latest = self.generations.latest
        now = {} if latest is None else latest.event.genes
        return {**now, **{name: value for name, value in self.began.genome.items() if name not in self._evolving}}

    def take(self, event: Event, when: datetime | None) -> None:
        """Remember ``event``, which happened at ``when``, or now."""
        self.pace.take(event)
        match event:
            case Began():
                self.began = event
            case Entered():
                self.entered, self.learned = event, None
                self._note_ann(event.task, event.ann_energy_joules.get(ENERGY_MODEL))
            case Learned():
                self.learned = event
                self.spike_rates = event.spike_rates or self.spike_rates  # a twin has none
                if event.episode_return is not None:
                    self.returns[event.being].append(event.episode_return)
            case Evaluated():
                self._take_scores(event)
            case Evolved():
                self.generations.take(event)
                self._evolving |= event.genes.keys()
            case Ended():
                self.state = event.state
        if line := describe(event, self.began):
            self.log.append(stamped(line, when))

    def _take_scores(self, event: Evaluated) -> None:
        if event.best and self.entered is not None:
            self.left[event.being, self.entered.number] = event.scores[event.task]["return_mean"]
        # A resumed stream repeats the events after the checkpoint.
        self.rows[event.being] = [*self.rows[event.being][: event.number], event]
        for task, score in event.scores.items():
            self.scores[event.being][task] = score["return_mean"]
            joules = score.get("energy_joules", {}).get(ENERGY_MODEL)
            if event.being in TWINS:
                self._note_ann(task, joules)
            elif joules is not None:
                self.joules[task] = joules

    def _note_ann(self, task: str, joules: float | None) -> None:
        if joules is not None:
            self.ann_joules[task] = joules
