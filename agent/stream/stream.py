"""The story of a stream: a network learns it experience by experience, then its ANN twin does the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from snn4.agent.evaluation.matrix import retained
from snn4.agent.evolution.objectives import require_spikes
from snn4.agent.run.beings import NETWORK
from snn4.agent.run.events import Compared, Entered, Evaluated, Event, Learned, Measure, Score, Task, from_json
from snn4.agent.run.work import Model, Pause, State, Stop
from snn4.agent.stream.beings import StreamBeing
from snn4.agent.stream.config import ContinualConfig
from snn4.envs.stream import Stream
from snn4.learners.continual.learner import n_outputs
from snn4.learners.not_finite import NotFinite
from snn4.policies.gene import genome


class StreamLife:
    """Beings live through the stream, one after the other, and are compared.

    Args:
        config: a checked config.
        stream: the experiences.
        beings: a network, and possibly its twin.
    """

    unit = "images"
    measure: Measure = "accuracy"

    def live(self, stop: Stop) -> Iterator[Event | Pause | Model]:
        """Each being lives the stream to its end; then they are compared. An interrupted experience starts again."""
        for being in self.beings:
            try:
                yield from self._live_through_stream(being, stop)
            except NotFinite as error:
                raise NotFinite(f"{being.name}: {error}") from error
            if being.learned < len(self.stream):
                return
        if self.config.ann_twin:
            yield Compared(*({"stream": self._result(being)} for being in self.beings))

    def validated(self, stop: Stop) -> dict[str, Score] | None:
        """See `snn4.agent.run.work.Validated`: mean accuracy and cost over all experiences, after the last one."""
        being = self.beings[0]
        for _ in self._live_through_stream(being, stop):
            pass
        if being.learned < len(self.stream):
            return None
        scores = {"stream": {"return_mean": retained(being.rows)["average_accuracy"], **being.cost}}
        require_spikes(scores)
        return scores

    def _live_through_stream(self, being: StreamBeing, stop: Stop) -> Iterator[Event | Pause | Model]:
        if not being.rows:
            yield self._test(being)
        for number in range(being.learned, len(self.stream)):
            name, images = self.stream.names[number], self.sizes[number]
            yield Entered(being.name, name, number, 0, images)
            before = self.age
            for lesson in being.learner.learn(self.stream.train[number], stop):
                yield Learned(
                    being.name, name, number, lesson.images, images, before + lesson.images, lesson.accuracy, [],
                    {"loss": lesson.loss}, lesson.seconds, lesson.epoch,
                )  # fmt: skip
            if being.learner.stopped:
                return
            yield self._test(being)
            if being.learned == len(self.stream):
                being.learned_state = being.learner.state()
                yield self._model(being)
            yield Pause()
            if stop():
                return

    def _test(self, being: StreamBeing) -> Evaluated:
        images = sum(self.sizes[being.learned : being.learner.learned])  # `age` counts them after the test
        row = being.test(self.stream, self.config.evaluate_on, self.age + images)
        being.rows.append(row)
        return row

    def __init__(self, config: ContinualConfig, stream: Stream, beings: list[StreamBeing]) -> None:
        self.config = config
        self.stream = stream
        self.beings = beings
        self.sizes = [len(experience.dataset) * config.training.epochs for experience in stream.train]
        """Images learned from in each experience."""
        self.notes = list(stream.data.notes)

    @property
    def tasks(self) -> list[Task]:
        pairs = zip(self.stream.names, self.sizes, strict=True)
        return [{"environment": name, "steps": size} for name, size in pairs]

    @property
    def genome(self) -> dict[str, float]:
        return genome(self.config.network)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The fingerprint of the data."""
        return self.stream.data.fingerprint

    @property
    def age(self) -> int:
        """Images that all beings together have learned from, in whole experiences."""
        return sum(sum(self.sizes[: being.learned]) for being in self.beings)

    @property
    def finished(self) -> bool:
        """Whether all beings have lived to the end."""
        return all(being.learned == len(self.stream) for being in self.beings)

    def state(self) -> State:
        """All but config and data; learners at the end of the stream belong to the model."""
        learning = next((being for being in self.beings if 0 < being.learned < len(self.stream)), None)
        beings = [
            {"rows": [row.to_json() for row in being.rows], "cost": being.cost, "learned": being.learned_state}
            for being in self.beings
        ]
        return {"model": {"beings": beings}, "learner": {"learner": learning.learner.state() if learning else None}}

    def load_state(self, state: State) -> None:
        """Continue from ``state``, also one of version 0.1."""
        learner = state["learner"]["learner"]
        for being, saved in zip(self.beings, state["model"]["beings"], strict=True):
            being.rows = [self._row(row) for row in saved["rows"]]
            being.cost = saved["cost"]
            being.learned_state = saved.get("learned")
            if being.learned_state is not None:
                being.learner.load_state(being.learned_state)
            elif learner is not None and 0 < being.learned < len(self.stream):
                being.learner.load_state(learner)

    def _row(self, saved: dict[str, Any]) -> Evaluated:
        """A saved test; version 0.1 had another event, without names of the experiences."""
        event = from_json(saved if "event" in saved else {"event": "recalled", **saved})
        assert isinstance(event, Evaluated)
        return dataclasses.replace(event, scores=dict(zip(self.stream.names, event.scores.values(), strict=True)))

    def summary(self) -> dict[str, Any]:
        """The stream; and of each being accuracy matrix, measures and cost per decision."""
        stream, part = self.stream, self.config.evaluate_on
        about = {
            "names": stream.names, "classes": stream.classes, "scenario": stream.scenario,
            "training_samples": [len(experience.dataset) for experience in stream.train],
            "tested_on": part, "test_samples": [len(experience.dataset) for experience in getattr(stream, part)],
        }  # fmt: skip
        first = getattr(stream, part)[0]
        measured = {being.name: {"energy_joules_measured": being.joules(first)} for being in self.beings}
        costs = {being.name: {**being.cost, **measured[being.name]} for being in self.beings}
        return {"stream": about, **{being.name: {**retained(being.rows), **costs[being.name]} for being in self.beings}}

    def _result(self, being: StreamBeing) -> Score:
        measures = retained(being.rows)
        kept = {key: measures[key] for key in ("average_accuracy", "forgetting")}
        return {"return_mean": kept["average_accuracy"], **kept, "energy_joules": being.cost["energy_joules"]}

    def _model(self, being: StreamBeing) -> Model:
        stream = self.stream
        about = {
            "data": self.config.stream.data.name, "in_channels": stream.in_channels, "image_size": stream.image_size,
            "n_classes": n_outputs(stream), "mean": stream.mean, "std": stream.std, "seed": self.config.seed,
            "experiences": stream.names,
        }  # fmt: skip
        return Model("model" if being.name == NETWORK else being.name, being.learner.network.state_dict(), about)
