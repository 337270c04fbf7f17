"""The story of a training: a classifier learns, then its ANN twin; the best weights of each are tested."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from snn4.agent.evaluation.accuracy import Recognizer, recognize
from snn4.agent.evaluation.classifier import Examination, ExaminationConfig
from snn4.agent.evaluation.indicators import Indicators, meter, spread
from snn4.agent.evaluation.shown import InOrder, examined
from snn4.agent.evolution.objectives import require_spikes
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.run.events import Compared, Evaluated, Event, Learned, Measure, Score, Task
from snn4.agent.run.work import Model, Pause, State, Stop
from snn4.agent.training.config import TrainingConfig
from snn4.agent.training.processes import FabricProcesses
from snn4.agent.training.students import Student
from snn4.envs.data.datasets import Data
from snn4.learners.not_finite import NotFinite
from snn4.learners.recipe import lay_out
from snn4.learners.supervised import SupervisedLearner
from snn4.policies.gene import genome
from snn4.policies.metering.cost import Cost

if TYPE_CHECKING:
    from snn4.agent.training.teaching import Teaching

REPORT_EVERY, SAVE_EVERY = 2.0, 600.0
"""Seconds between reports, and between checkpoints inside an epoch; each epoch also ends with one of each."""


class Training:
    """Students learn the data, one after the other, and are tested.

    Args:
        config: a checked config.
        data: training, validation and test data.
        students: a network, and possibly its twin.
        processes: they learn together; only the first one validates, tests and writes.
        teaching: the lessons of a teacher; None learns from the labels alone.
    """

    unit = "images"
    measure: Measure = "accuracy"
    result: Examination | None = None
    """Result of the test."""
    _learner: SupervisedLearner | None = None
    _saved_learner: dict[str, Any] | None = None
    """State of the learner in the checkpoint from which the training continues."""
    _teacher: dict[str, Any] | None = None
    """The test of the teacher."""

    def live(self, stop: Stop) -> Iterator[Event | Pause | Model]:
        """Each student learns epoch by epoch; at the end all are tested with their best weights."""
        for student in self.students:
            if student.finished:
                continue
            if not self._asked_in_advance(stop):
                yield self._pause()
                return
            learner = self._learner = self._newborn(student)
            yield from self._learn(student, learner, stop)
            if learner.stopped and not self._learned:
                return
        for student in self.students:
            yield self._take_best(student)
        if self.processes.leads:
            yield from self._test()

    def validated(self, stop: Stop) -> dict[str, Score] | None:
        """See `snn4.agent.run.work.Validated`: the best accuracy, and the costs with those weights."""
        student = self.students[0]
        if not self._asked_in_advance(stop):
            return None
        learner = self._learner = self._newborn(student)
        for _ in self._learn(student, learner, stop):
            pass
        if not student.finished:
            return None
        self._take_best(student)
        shown = spread(InOrder(self.data.validation), len(self.data.validation), ExaminationConfig().metered)
        cost = meter(Recognizer(student.network, flip=self.config.flip), shown)
        scores = {self.data.name: {"return_mean": student.best["top1"], **_costs(cost)}}
        require_spikes(scores)
        return scores

    def _learn(self, student: Student, learner: SupervisedLearner, stop: Stop) -> Iterator[Event | Pause | Model]:
        epochs = self.config.training.epochs
        while learner.epoch < epochs and not learner.stopped:
            try:
                yield from self._learn_epoch(student, learner, stop)
            except NotFinite as error:
                raise NotFinite(f"{student.name}: {error}") from error
            if learner.step % learner.n_batches == 0:
                yield from self._validate(student, learner)
            student.finished = learner.epoch == epochs
            yield self._pause()

    def _learn_epoch(self, student: Student, learner: SupervisedLearner, stop: Stop) -> Iterator[Event | Pause]:
        """Learn to the end of the epoch, or until the training is stopped."""
        for fit in learner.learn(stop, REPORT_EVERY):
            student.images = fit.images
            losses = {"loss": fit.loss, "learning_rate": fit.learning_rate}
            yield Learned(
                student.name, self.data.name, 0, fit.images, self.total, self.age, fit.accuracy, [], losses,
                fit.seconds, fit.epoch, fit.T,
            )  # fmt: skip
            is_within_epoch = learner.step % learner.n_batches and not learner.stopped
            if is_within_epoch and self._is_time_to_save():
                yield self._pause()

    def _validate(self, student: Student, learner: SupervisedLearner) -> Iterator[Event | Model]:
        """Measure accuracy on validation data; keep the best weights, in memory and as the student's model file."""
        started = time.perf_counter()
        network = learner.learned
        with self.fabric.autocast():
            accuracy = recognize(network, InOrder(self.data.validation), self.data.n_classes, flip=self.config.flip)
        top1 = accuracy.top1[-1]
        best = not student.best or top1 >= student.best["top1"]
        if best:
            weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
            student.best = {"top1": top1, "epoch": learner.epoch, "weights": weights}
            yield self._model(student)
        score = {"return_mean": top1, "loss": accuracy.cross_entropy[-1]}
        yield Evaluated(
            student.name, self.data.name, self.age, {self.data.name: score}, best, number=learner.epoch,
            seconds=time.perf_counter() - started,
        )  # fmt: skip

    def _test(self) -> Iterator[Event]:
        started = time.perf_counter()
        models = {student.name: student.network for student in self.students}
        self.result = examined(models, self.data, ExaminationConfig(flip=self.config.flip))
        self._teacher = None if self.teaching is None else self.teaching.examined()
        seconds = time.perf_counter() - started
        epochs = self.config.training.epochs
        snn, _, ann, _ = (_score(row) for row in self.result.rows)
        rows: dict[str, dict[str, Score]] = {NETWORK: {self.data.name: snn}, ANN_TWIN: {self.data.name: ann}}
        for student in self.students:
            yield Evaluated(
                student.name, self.data.name, self.age, rows[student.name], part="test", number=epochs, seconds=seconds
            )
        if self.config.ann_twin:
            yield Compared(rows[NETWORK], rows[ANN_TWIN])

    def __init__(
        self, config: TrainingConfig, data: Data, students: list[Student], processes: FabricProcesses,
        teaching: Teaching | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.data = data
        self.students = students
        self.processes = processes
        self.fabric = processes.fabric
        self.teaching = teaching
        self.notes = [*data.notes, *(teaching.notes if teaching else ())]
        self.n_batches = data.train.n_batches(config.training.batch_size, True, self.fabric.world_size)
        """Per epoch and process."""
        self._saved = time.monotonic()

    @property
    def beings(self) -> list[Student]:
        return self.students

    @property
    def tasks(self) -> list[Task]:
        return [{"environment": self.data.name, "steps": self.total}]

    @property
    def genome(self) -> dict[str, float]:
        return genome(self.config.network)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The data's fingerprint, the batches of an epoch, and the teacher."""
        taught = self.teaching.fingerprint if self.teaching else {}
        return {"batches": self.n_batches, **self.data.fingerprint, **taught}

    @property
    def age(self) -> int:
        """Images that all students together have learned from."""
        return sum(student.images for student in self.students)

    @property
    def total(self) -> int:
        """Images per student, in all epochs and processes."""
        training = self.config.training
        return training.epochs * self.n_batches * training.batch_size * self.fabric.world_size

    @property
    def finished(self) -> bool:
        """Whether all have learned to the end and were tested."""
        return self._learned and (self.result is not None or not self.processes.leads)

    @property
    def _learned(self) -> bool:
        return all(student.finished for student in self.students)

    @property
    def _present(self) -> Student | None:
        """The student that learns now; None after the last one."""
        return next((student for student in self.students if not student.finished), None)

    def state(self) -> State:
        """All but config and data."""
        present = self._present
        learner = self._learner if present is not None and present.images else None
        learned = self._saved_learner if learner is None else learner.state()
        students = [{"best": student.best, "finished": student.finished} for student in self.students]
        return {"model": {"students": students}, "learner": {"learner": learned}}

    def load_state(self, state: State) -> None:
        """Continue from ``state``, also one of version 0.1."""
        self._saved_learner = state["learner"]["learner"]
        for student, saved in zip(self.students, state["model"]["students"], strict=True):
            student.best = saved["best"]
            student.finished = saved["finished"]
            student.images = self.total if student.finished else 0
        if self._saved_learner is not None:
            assert self._present is not None
            self._present.images = self._saved_learner["images"]

    def summary(self) -> dict[str, Any]:
        """All results of the test, and the epochs of the tested weights."""
        assert self.result is not None
        best = {student.name: student.best for student in self.students}
        selected = {name: {"epoch": row["epoch"], "top1_validation": row["top1"]} for name, row in best.items()}
        taught = {"teacher": self._teacher} if self._teacher else {}
        return {**self.result.to_json(), "selected": selected, **taught}

    def _newborn(self, student: Student) -> SupervisedLearner:
        """The learner of ``student``; after a resume it continues from the checkpoint."""
        config = self.config.training
        train = self.data.train
        fabric = self.fabric
        share = {"rank": fabric.global_rank, "world_size": fabric.world_size}

        lessons, answers = None, None
        if self.teaching is not None:
            lessons, answers = self.teaching.lessons.get(student.name), self.teaching.answers

        def batches(epoch: int, first: int) -> Iterable[tuple[Tensor, ...]]:
            order: dict[str, Any] = {
                "shuffle_seed": self.config.seed, "epoch": epoch, "first": first, "drop_last": True, **share,
            }  # fmt: skip
            shown = train.batches(config.batch_size, augment=True, workers=self.config.workers, **order)
            if answers is None:
                return shown
            positions = train.positions(config.batch_size, **order)
            return ((*batch, answers[:, rows]) for batch, rows in zip(shown, positions, strict=True))

        learner = SupervisedLearner(config, student.network, batches, self.n_batches, self.config.seed, fabric, lessons)
        if self._saved_learner is not None:
            learner.load_state(self._saved_learner)
            self._saved_learner = None
        return learner

    def _asked_in_advance(self, stop: Stop) -> bool:
        """Ask the teacher about all samples at once if it would see them again and again; False if stopped."""
        if self.teaching is None or not self.teaching.remembers or self.teaching.answers is not None:
            return True
        done = self.teaching.remember(self.fabric, stop) if self.processes.leads else True
        done = self.processes.broadcast(done)  # the others read what the first one has written
        return done if self.processes.leads or not done else self.teaching.remember(self.fabric, stop)

    def _pause(self) -> Pause:
        self._saved = time.monotonic()
        return Pause()

    def _is_time_to_save(self) -> bool:
        """Whether the last checkpoint is old, by the first process's clock."""
        return self.processes.broadcast(time.monotonic() - self._saved > SAVE_EVERY)

    def _take_best(self, student: Student) -> Model:
        """Load the best weights of ``student``, and write them to disk."""
        student.network.to(self.fabric.device)  # a student that finished before a resume has not learned there
        lay_out(student.network, self.config.training)
        student.network.load_state_dict(student.best["weights"])
        return self._model(student)

    def _model(self, student: Student) -> Model:
        """``model.safetensors`` or ``ann_twin.safetensors``, with its data and its validation accuracy."""
        data = self.data
        about = {
            "data": data.name, "in_channels": data.in_channels, "image_size": data.image_size,
            "n_classes": data.n_classes, "classes": data.classes, "mean": data.mean, "std": data.std,
            "seed": self.config.seed, "epoch": student.best["epoch"], "top1_validation": student.best["top1"],
        }  # fmt: skip
        return Model("model" if student.name == NETWORK else student.name, student.best["weights"], about)


def _score(row: Indicators) -> Score:
    return {"return_mean": row.top1, **_costs(row.cost), "energy_joules": row.energy_joules}


def _costs(cost: Cost) -> Score:
    names = ("spikes_per_decision", "effective_acs", "effective_macs", "energy_joules", "parameters")
    return {name: getattr(cost, name) for name in names}
