"""The whole story of a training: a classifier learns, then its ANN twin; the best weights of each are kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from snn4.agent.config.file import dump
from snn4.agent.evaluation.accuracy import recognize
from snn4.agent.life.config import TrainingConfig
from snn4.agent.models.files import save_model
from snn4.agent.run import checkpoint
from snn4.agent.run.events import Began, Ended, Event, Fitted, Noted, Saved, Validated
from snn4.agent.training.students import NETWORK, InOrder, Student
from snn4.envs.data.datasets import Data
from snn4.learners.not_finite import NotFinite
from snn4.learners.recipe import lay_out
from snn4.learners.supervised import SupervisedLearner
from snn4.policies.gene import genome

REPORT_EVERY, SAVE_EVERY = 2.0, 600.0
"""Seconds between reports, and between checkpoints inside an epoch; there is one of each after an epoch."""


class Training:
    """Everything a training consists of, and its checkpoints in ``folder``.

    Args:
        config: a checked config.
        data: what is learned.
        students: who learns it, one after the other.
        folder: the run folder, the same in every process.
        fabric: launched.
        stop: asked after every batch; True ends the training after a checkpoint.
    """

    def __init__(
        self,
        config: TrainingConfig,
        data: Data,
        students: list[Student],
        folder: Path,
        fabric: Fabric,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config, self.data, self.students = config, data, students
        self.folder, self.fabric, self.stop = folder, fabric, stop
        self.notes = list(data.notes)
        self.n_batches = data.train.n_batches(config.training.batch_size, True, fabric.world_size)
        """Of an epoch, in each process."""
        self._about_data = {"batches": self.n_batches, **data.fingerprint}
        self.resumed = False
        self._saved = time.monotonic()
        self._interrupted: dict[str, Any] | None = None
        """State of the learner in the last checkpoint."""

    @property
    def images(self) -> int:
        """Images that all students have learned from."""
        return sum(student.images for student in self.students)

    @property
    def total(self) -> int:
        """Images that each student learns from, in all epochs and processes."""
        training = self.config.training
        return training.epochs * self.n_batches * training.batch_size * self.fabric.world_size

    @property
    def finished(self) -> bool:
        """Whether all have learned to the end."""
        return all(student.finished for student in self.students)

    def restore(self) -> str | None:
        """Go back to the newest sound checkpoint and name it; None if none was ever written.

        Raises:
            checkpoint.Damaged: no checkpoint is sound.
            checkpoint.RunChanged: the data are others than they were.
        """
        self.resumed = True
        found = checkpoint.newest(self.folder)
        if found is None:
            return None
        found.require_same_data(self.folder, self._about_data)
        self._interrupted = found.learner["learner"]
        for student, state in zip(self.students, found.model["students"], strict=True):
            student.best, student.finished = state["best"], state["finished"]
            student.images = self.total if student.finished else 0
        if self._interrupted is not None:
            next(s for s in self.students if not s.finished).images = self._interrupted["images"]
        self.notes += found.notes
        return found.place

    def save(self, learner: SupervisedLearner | None) -> Saved:
        """Write a checkpoint, in the first process; all wait for it."""
        started, where = time.perf_counter(), ("", 0)
        if self.fabric.is_global_zero:
            students = [{"best": s.best, "finished": s.finished} for s in self.students]
            state = {"learner": None if learner is None else learner.state(), "data": self._about_data}
            folder, keep = self.folder / checkpoint.CHECKPOINTS, self.config.keep_checkpoints
            path = checkpoint.save(folder, {"students": students}, state, dump(self.config), keep)
            where = f"{checkpoint.CHECKPOINTS}/{path.name}", checkpoint.size(path)
        self.fabric.barrier()
        self._saved = time.monotonic()
        return Saved(where[0], self.images, where[1], time.perf_counter() - started)

    def is_time_to_save(self) -> bool:
        """Whether the last checkpoint is old, by the first process's clock."""
        return self.fabric.broadcast(time.monotonic() - self._saved > SAVE_EVERY)

    def learner(self, student: Student) -> SupervisedLearner:
        """The learner of ``student``, going on where a checkpoint left it."""
        config, train, fabric = self.config.training, self.data.train, self.fabric
        share = {"rank": fabric.global_rank, "world_size": fabric.world_size}

        def batches(epoch: int, first: int) -> Iterable[tuple[Tensor, Tensor]]:
            return train.batches(
                config.batch_size, shuffle_seed=self.config.seed, epoch=epoch, first=first,
                augment=True, drop_last=True, workers=self.config.workers, **share,
            )  # fmt: skip

        learner = SupervisedLearner(config, student.network, batches, self.n_batches, self.config.seed, fabric)
        left, self._interrupted = self._interrupted, None
        if left is not None:
            learner.load_state(left)
        return learner

    def validate(self, student: Student, learner: SupervisedLearner) -> Validated:
        """Accuracy on validation data; the best weights are kept, in memory and as the student's model file."""
        started, network = time.perf_counter(), learner.learned
        with self.fabric.autocast():
            found = recognize(network, InOrder(self.data.validation), self.data.n_classes, flip=self.config.flip)
        top1 = found.top1[-1]
        best = not student.best or top1 >= student.best["top1"]
        if best:
            weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
            student.best = {"top1": top1, "epoch": learner.epoch, "weights": weights}
            self._write_model(student)
        loss, seconds = found.cross_entropy[-1], time.perf_counter() - started
        return Validated(student.name, learner.epoch, learner.images, top1, loss, best, seconds=seconds)

    def take_best(self) -> None:
        """Give all students their best weights, in memory and on disk."""
        for student in self.students:
            student.network.to(self.fabric.device)  # one that had finished before a resume did not learn there
            lay_out(student.network, self.config.training)
            student.network.load_state_dict(student.best["weights"])
            self._write_model(student)

    def _write_model(self, student: Student) -> None:
        """``model.safetensors`` or ``ann_twin.safetensors``, and what it is for and how good as its metadata."""
        if not self.fabric.is_global_zero:
            return
        about = {
            "data": self.data.name, "in_channels": self.data.in_channels, "image_size": self.data.image_size,
            "n_classes": self.data.n_classes, "classes": self.data.classes, "mean": self.data.mean,
            "std": self.data.std, "seed": self.config.seed, "epoch": student.best["epoch"],
            "top1_validation": student.best["top1"],
        }  # fmt: skip
        name = "model" if student.name == NETWORK else student.name
        save_model(self.folder / f"{name}.safetensors", student.best["weights"], about)


def train(training: Training) -> Iterator[Event]:
    """Everything that happens: each student learns epoch by epoch, and in the end has its best weights."""
    config = training.config
    tasks = [{"environment": config.data.name, "steps": training.total}]
    names = [student.name for student in training.students]
    yield Began(config.name, config.seed, tasks, genome(config.network), names, training.images, training.resumed)
    yield from (Noted(note) for note in training.notes)
    for student in training.students:
        if student.finished:
            continue
        learner = training.learner(student)
        yield from _learn(training, student, learner)
        if learner.stopped and not training.finished:
            yield Ended("interrupted", training.images)
            return
    training.take_best()
    yield Ended("finished", training.images)


def _learn(training: Training, student: Student, learner: SupervisedLearner) -> Iterator[Event]:
    epochs = training.config.training.epochs
    while learner.epoch < epochs and not learner.stopped:
        try:
            yield from _fit(training, student, learner)
        except NotFinite as error:
            raise NotFinite(f"{student.name}: {error}") from error
        if learner.step % learner.n_batches == 0:
            yield training.validate(student, learner)
        student.finished = learner.epoch == epochs
        yield training.save(None if student.finished else learner)


def _fit(training: Training, student: Student, learner: SupervisedLearner) -> Iterator[Event]:
    """To the end of the epoch, or until the training is stopped."""
    for fit in learner.learn(training.stop, REPORT_EVERY):
        new, student.images = fit.images - student.images, fit.images
        yield Fitted(student.name, total=training.total, new_images=new, **dataclasses.asdict(fit))
        goes_on = learner.step % learner.n_batches and not learner.stopped
        if goes_on and training.is_time_to_save():
            yield training.save(learner)
