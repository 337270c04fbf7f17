"""The whole story of a stream: a network lives it experience by experience, then its ANN twin lives the same."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from snn4.agent.config.file import dump
from snn4.agent.evaluation.matrix import retained
from snn4.agent.life.config import ContinualConfig
from snn4.agent.models.files import save_model
from snn4.agent.run import checkpoint
from snn4.agent.run.events import Began, Compared, Ended, Entered, Event, Noted, Recalled, Saved, Studied
from snn4.agent.stream.beings import StreamBeing
from snn4.agent.training.students import NETWORK
from snn4.envs.stream import Stream
from snn4.learners.continual.learner import n_outputs
from snn4.learners.not_finite import NotFinite
from snn4.policies.gene import genome

LEARNED = "learned"
"""Folder of what each being was at its end, as checkpoints are written: ``learned/network/000001``."""
METERED = 256
"""Samples whose operations are counted, from each experience its share."""


class ContinualLife:
    """Everything that a life in a stream consists of, and its checkpoints in ``folder``.

    Args:
        config: a checked config.
        stream: the experiences.
        beings: who lives them, one after the other.
        folder: the run folder.
        stop: asked after every update; True ends the life, and the experience will be learned anew.
    """

    def __init__(
        self,
        config: ContinualConfig,
        stream: Stream,
        beings: list[StreamBeing],
        folder: Path,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config, self.stream, self.beings, self.folder, self.stop = config, stream, beings, folder, stop
        self.tested: Sequence[Any] = getattr(stream, config.evaluate_on)
        self.sizes = [len(experience.dataset) * config.training.epochs for experience in stream.train]
        """Images that are learned from in each experience."""
        self.notes = list(stream.data.notes)
        self._about_data = stream.data.fingerprint
        self.resumed = False

    @property
    def images(self) -> int:
        """Images that all have learned from, in whole experiences."""
        return sum(sum(self.sizes[: being.learned]) for being in self.beings)

    @property
    def finished(self) -> bool:
        """Whether all have lived to the end."""
        return all(being.learned == len(self.stream) for being in self.beings)

    def restore(self, learns: bool = True) -> str | None:
        """Go back to the newest sound checkpoint and name it; None if none was ever written.

        Args:
            learns: whether learning is to go on.

        Raises:
            checkpoint.Damaged: no checkpoint is sound.
            checkpoint.RunChanged: learning is to go on, and the training data are others than they were.
        """
        self.resumed = True
        found = checkpoint.newest(self.folder)
        if found is None:
            return None
        if learns:
            found.require_same_data(self.folder, self._about_data)
        for being, state in zip(self.beings, found.model["beings"], strict=True):
            being.rows, being.cost = [Recalled(**row) for row in state["rows"]], state["cost"]
        living = next((being for being in self.beings if being.learned < len(self.stream)), None)
        if living is not None and found.learner["learner"] is not None:
            living.learner.load_state(found.learner["learner"])
        self.notes += found.notes
        return found.place

    def restore_learned(self) -> None:
        """Make all what they were in the end, or in the newest checkpoint, to be tested; who has not begun is left out.

        Raises:
            checkpoint.Damaged: no checkpoint is sound.
        """
        self.restore(learns=False)
        self.beings = [being for being in self.beings if being.learned]
        for being in self.beings:
            found = checkpoint.load(self.folder / LEARNED / being.name) if being.learned == len(self.stream) else None
            if found is not None:
                being.learner.load_state(found[2])

    def save(self, being: StreamBeing) -> Saved:
        """Write a checkpoint of ``being`` after an experience; after the last one, also its model."""
        started, over = time.perf_counter(), being.learned == len(self.stream)
        if over:
            checkpoint.save(self.folder / LEARNED / being.name, {}, being.learner.state(), dump(self.config), keep=1)
            self._write_model(being)
        beings = [{"rows": [dataclasses.asdict(row) for row in b.rows], "cost": b.cost} for b in self.beings]
        state = {"learner": None if over else being.learner.state(), "data": self._about_data}
        folder, keep = self.folder / checkpoint.CHECKPOINTS, self.config.keep_checkpoints
        path = checkpoint.save(folder, {"beings": beings}, state, dump(self.config), keep)
        seconds = time.perf_counter() - started
        return Saved(f"{checkpoint.CHECKPOINTS}/{path.name}", self.images, checkpoint.size(path), seconds)

    def recall(self, being: StreamBeing) -> Recalled:
        """Test ``being``, as it is now, on all experiences, those to come included."""
        started, learner = time.perf_counter(), being.learner
        accuracies = [learner.scores(experience) for experience in self.tested]
        being.cost = self._cost(being)
        seconds = time.perf_counter() - started
        spikes = being.cost["spikes_per_decision"] if being.name == NETWORK else None
        kept = learner.memory_bytes, learner.replay_bytes
        return Recalled(being.name, learner.learned, accuracies, spikes, *kept, seconds=seconds)

    def _cost(self, being: StreamBeing) -> dict[str, Any]:
        """What a decision costs, in the mean over all experiences."""
        share = max(METERED // len(self.tested), 1)
        costs = [being.learner.cost(experience, share) for experience in self.tested]
        joules: dict[str, float | None] = {}
        for model in costs[0].energy_joules:
            known = [joule for cost in costs if (joule := cost.energy_joules[model]) is not None]
            joules[model] = fmean(known) if len(known) == len(costs) else None
        counted = ("spikes_per_decision", "effective_acs", "effective_macs", "parameters")
        return {name: fmean(getattr(cost, name) for cost in costs) for name in counted} | {"energy_joules": joules}

    def summary(self, commit: dict[str, Any]) -> dict[str, Any]:
        """``summary.json``."""
        about = {
            "names": self.stream.names, "classes": self.stream.classes, "scenario": self.stream.scenario,
            "training_samples": [len(experience.dataset) for experience in self.stream.train],
            "tested_on": self.config.evaluate_on,
            "test_samples": [len(experience.dataset) for experience in self.tested],
        }  # fmt: skip
        told = {being.name: {**retained(being.rows), **being.cost} for being in self.beings}
        return {"stream": about, **told, "seed": self.config.seed, **commit, "config": dataclasses.asdict(self.config)}

    def _write_model(self, being: StreamBeing) -> None:
        stream, name = self.stream, "model" if being.name == NETWORK else being.name
        about = {
            "data": self.config.stream.data.name, "in_channels": stream.in_channels, "image_size": stream.image_size,
            "n_classes": n_outputs(stream), "mean": stream.mean, "std": stream.std, "seed": self.config.seed,
            "experiences": stream.names,
        }  # fmt: skip
        save_model(self.folder / f"{name}.safetensors", being.learner.network.state_dict(), about)


def live(life: ContinualLife) -> Iterator[Event]:
    """Everything that happens: each being lives the stream to its end, and they are compared."""
    yield _began(life)
    yield from (Noted(note) for note in life.notes)
    for being in life.beings:
        try:
            yield from _live_through_stream(life, being)
        except NotFinite as error:
            raise NotFinite(f"{being.name}: {error}") from error
        if being.learned < len(life.stream):
            yield Ended("interrupted", life.images)
            return
    if life.config.ann_twin:
        yield Compared(*({"stream": retained(being.rows)} for being in life.beings))
    yield Ended("finished", life.images)


def _live_through_stream(life: ContinualLife, being: StreamBeing) -> Iterator[Event]:
    if not being.rows:
        yield _recall(life, being)
    for number in range(being.learned, len(life.stream)):
        name, total = life.stream.names[number], life.sizes[number]
        yield Entered(being.name, name, number, 0, total)
        for lesson in being.learner.learn(life.stream.train[number], life.stop):
            yield Studied(being.name, **dataclasses.asdict(lesson))
        if being.learner.stopped:
            return
        yield _recall(life, being)
        yield life.save(being)
        if life.stop():
            return


def _recall(life: ContinualLife, being: StreamBeing) -> Recalled:
    row = life.recall(being)
    being.rows.append(row)
    return row


def _began(life: ContinualLife) -> Began:
    config, stream = life.config, life.stream
    tasks = [{"environment": name, "steps": size} for name, size in zip(stream.names, life.sizes, strict=True)]
    names = [being.name for being in life.beings]
    return Began(config.name, config.seed, tasks, genome(config.network), names, life.images, life.resumed)
