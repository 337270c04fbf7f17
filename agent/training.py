"""The whole story of a training: a classifier learns, then its ANN twin, and both are tested once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snn4.agent import checkpoint
from snn4.agent.config import ConfigError, TrainConfig, dump
from snn4.agent.events import Began, Ended, Event, Fitted, Noted, Saved, Validated
from snn4.agent.model import save_model
from snn4.agent.recognition import Network, recognize
from snn4.envs.datasets import Data, Samples, load_data
from snn4.learners.finite import NotFinite
from snn4.learners.supervised import SupervisedLearner
from snn4.policies.allocation import keep_freed_memory
from snn4.policies.ann import twin
from snn4.policies.gene import genome
from snn4.policies.perception import make_network

NETWORK, ANN_TWIN = "network", "ann_twin"
CHECKPOINTS = "checkpoints"


@dataclass
class Student:
    """A classifier that learns, the spiking one or its twin, and the best weights that it had on validation data."""

    name: str
    network: Network
    best: dict[str, Any] = field(default_factory=dict)
    """``top1`` on validation data, the ``epoch``, and the ``weights``."""
    finished: bool = False


@dataclass(frozen=True)
class InOrder:
    """The batches of ``samples``, in order and as they are, as often as they are asked for."""

    samples: Samples
    batch_size: int = 128

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.samples.batches(self.batch_size)

    def __len__(self) -> int:
        return self.samples.n_batches(self.batch_size)


class Training:
    """Everything a training consists of, and its checkpoints in ``folder``.

    Args:
        config: a checked config.
        folder: the run folder, the same in every process.
        fabric: launched.
        stop: asked after every batch; True ends the training after a checkpoint.

    Raises:
        ConfigError: the network does not fit the data.
    """

    def __init__(
        self, config: TrainConfig, folder: Path, fabric: Fabric, stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.config, self.folder, self.fabric, self.stop = config, folder, fabric, stop
        torch.set_num_threads(config.threads or max(1, torch.get_num_threads() // fabric.world_size))
        keep_freed_memory()
        self.data = load_data(config.data)
        fabric.seed_everything(config.seed, verbose=False)
        self.students = students(config, self.data)
        self.notes = list(self.data.notes)
        self._interrupted: dict[str, Any] | None = None
        """State of the learner in the last checkpoint."""

    @property
    def finished(self) -> bool:
        """Whether all have learned to the end."""
        return all(student.finished for student in self.students)

    def restore(self) -> str | None:
        """Go back to the newest sound checkpoint and name it; None if none was ever written.

        Raises:
            checkpoint.Damaged: no checkpoint is sound.
        """
        found = checkpoint.load(self.folder / CHECKPOINTS)
        if found is None:
            return None
        path, model, learner, problems = found
        for student, state in zip(self.students, model["students"], strict=True):
            student.best, student.finished = state["best"], state["finished"]
            student.network.load_state_dict(state["weights"])
        self._interrupted = learner["learner"]
        self.notes += [f"{problem}; {path.name}, the one before it, is used" for problem in problems]
        return f"{CHECKPOINTS}/{path.name}"

    def save(self, learner: SupervisedLearner | None) -> Saved:
        """Write a checkpoint, in the first process; all wait for it."""
        started, where = time.perf_counter(), ("", 0)
        if self.fabric.is_global_zero:
            students = [
                {"weights": s.network.state_dict(), "best": s.best, "finished": s.finished} for s in self.students
            ]
            state = {"learner": None if learner is None else learner.state()}
            folder, keep = self.folder / CHECKPOINTS, self.config.keep_checkpoints
            path = checkpoint.save(folder, {"students": students}, state, dump(self.config), keep)
            where = f"{CHECKPOINTS}/{path.name}", checkpoint.size(path)
        self.fabric.barrier()
        images = 0 if learner is None else learner.images
        return Saved(where[0], images, where[1], time.perf_counter() - started)

    def learner(self, student: Student) -> SupervisedLearner:
        """The learner of ``student``, going on where a checkpoint left it."""
        config, train, fabric = self.config.training, self.data.train, self.fabric
        share = {"rank": fabric.global_rank, "world_size": fabric.world_size}

        def batches(epoch: int, first: int) -> Iterable[tuple[Tensor, Tensor]]:
            return train.batches(
                config.batch_size, shuffle_seed=self.config.seed, epoch=epoch, first=first, augment=True, drop_last=True,
                **share,
            )  # fmt: skip

        n_batches = train.n_batches(config.batch_size, drop_last=True, world_size=fabric.world_size)
        try:
            learner = SupervisedLearner(config, student.network, batches, n_batches, self.config.seed, fabric)
        except ValueError as error:
            raise ConfigError(self.config.name, [f"training.{error}"]) from error
        left, self._interrupted = self._interrupted, None
        if left is not None:
            learner.load_state(left)
        return learner

    def validate(self, student: Student, learner: SupervisedLearner) -> Validated:
        """Accuracy on validation data, in every process alike; the best weights are kept."""
        started, network, classes = time.perf_counter(), learner.learned, len(self.data.classes)
        with self.fabric.autocast():
            found = recognize(network, InOrder(self.data.validation), classes, flip=self.config.flip)
        top1 = found.top1[-1]
        best = not student.best or top1 >= student.best["top1"]
        if best:
            weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
            student.best = {"top1": top1, "epoch": learner.epoch, "weights": weights}
        loss, seconds = found.cross_entropy[-1], time.perf_counter() - started
        return Validated(student.name, learner.epoch, learner.images, top1, loss, best, seconds=seconds)

    def keep_models(self) -> None:
        """Write the best weights of all as ``model.safetensors`` and ``ann_twin.safetensors``."""
        for student in self.students:
            student.network.load_state_dict(student.best["weights"])
            if self.fabric.is_global_zero:
                name = "model" if student.name == NETWORK else student.name
                save_model(self.folder / f"{name}.safetensors", student.network)


def students(config: TrainConfig, data: Data) -> list[Student]:
    """Who learns, untrained; ConfigError where the network does not fit the data."""
    try:
        resolved = config.network.resolve(data.in_channels, data.image_size, len(data.classes))
        network = make_network(resolved, config.network.backend, config.training.checkpoint_steps)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(config.name, [f"network, for images of {data.name}: {error}"]) from error
    return [Student(NETWORK, network), *([Student(ANN_TWIN, twin(resolved))] if config.ann_twin else [])]


def train(training: Training) -> Iterator[Event]:
    """Everything that happens: each student learns epoch by epoch, and the best weights are written at the end."""
    config, n = training.config, len(training.data.train)
    tasks = [{"environment": config.data.name, "steps": n * config.training.epochs}]
    names = [student.name for student in training.students]
    yield Began(config.name, config.seed, tasks, genome(config.network), names)
    yield from (Noted(note) for note in training.notes)
    images = 0
    for student in training.students:
        if student.finished:
            continue
        learner = training.learner(student)
        yield from _learn(training, student, learner)
        images = learner.images
        if training.stop():
            yield Ended("interrupted", images)
            return
    training.keep_models()
    yield Ended("finished", images)


def _learn(training: Training, student: Student, learner: SupervisedLearner) -> Iterator[Event]:
    total = learner.steps * training.config.training.batch_size * training.fabric.world_size
    while learner.epoch < training.config.training.epochs and not training.stop():
        before = learner.images
        try:
            for fit in learner.learn(training.stop):
                values = dataclasses.asdict(fit)
                yield Fitted(student.name, total=total, new_images=fit.images - before, **values)
                before = fit.images
            if learner.step % learner.n_batches == 0:
                yield training.validate(student, learner)
        except NotFinite as error:
            raise NotFinite(f"{student.name}: {error}") from error
        student.finished = learner.epoch == training.config.training.epochs
        yield training.save(None if student.finished else learner)
