"""The teacher of a training: opened, fitted to the data, and assigned to the students."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snn4.agent.config.file import ConfigError
from snn4.agent.evaluation.accuracy import Recognizer, recognize
from snn4.agent.evaluation.indicators import Indicators, meter, spread
from snn4.agent.models.files import ModelError
from snn4.agent.models.sources import About, rescaled
from snn4.agent.run.beings import NETWORK
from snn4.agent.training import answers
from snn4.agent.training.config import TeacherConfig, TrainingConfig
from snn4.agent.training.students import InOrder, Student
from snn4.envs.data.datasets import Data
from snn4.envs.data.downloads import data_cache
from snn4.learners.lessons import Lessons
from snn4.learners.recipe import lay_out
from snn4.learners.teachers import Teacher

METERED = 512
"""Test samples whose operations are counted."""


class Teaching:
    """A teacher, and the lessons of each student by name.

    Args:
        config: of the training; it has a ``teacher``.
        data: of the training.
        teacher: fits the data; None if only inner steps teach each other.
        lessons: of the students that have any.
    """

    answers: Tensor | None = None
    """Logits (teachers, N, classes) for all training samples, if they never change and were given before."""

    def __init__(
        self, config: TrainingConfig, data: Data, teacher: Teacher | None, lessons: Mapping[str, Lessons],
        notes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        assert config.teacher is not None
        self.config, self.data = config, data
        self.wanted: TeacherConfig = config.teacher
        self.teacher, self.lessons, self.notes = teacher, lessons, list(notes)
        self.digest = None if teacher is None else teacher.digest

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What must be the same when a run continues."""
        return {} if self.digest is None else {"teacher": self.digest}

    @property
    def remembers(self) -> bool:
        """Whether the teacher sees the same images in every epoch, and nothing but its scores is learned."""
        data, recipe = self.config.data, self.config.training
        changes = data.augmentation != "none" or data.erase or recipe.mixup or recipe.cutmix
        return self.teacher is not None and not (changes or self.wanted.looks_inside or self._numbers > answers.MOST)

    @property
    def _shape(self) -> tuple[int, ...]:
        return len(self.wanted.names), len(self.data.train), self.data.n_classes

    @property
    def _numbers(self) -> int:
        teachers, samples, classes = self._shape
        return teachers * samples * classes

    def place(self, device: torch.device) -> Path:
        """The file of the answers, named after all that they depend on."""
        known = dataclasses.asdict(self.config.data)
        known = {key: value for key, value in known.items() if key not in ("root", "download", "on_error")}
        first, _ = self.data.train.take(torch.arange(min(64, len(self.data.train))), None)
        seen = hashlib.sha256(first.contiguous().numpy().tobytes()).hexdigest()
        recipe, precision = self.config.training, self.config.fabric.precision
        how = [recipe.batch_size, recipe.channels_last, precision, device.type]
        key = json.dumps([self.digest, known, self.data.fingerprint, seen, how], default=str)
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        return data_cache(self.config.data.root) / "teachers" / f"{name}.safetensors"

    def remember(self, fabric: Fabric, stop: Callable[[], bool]) -> bool:
        """Ask the teacher about all training samples, unless it was asked before; False if ``stop`` came first."""
        assert self.teacher is not None
        path = self.place(fabric.device)
        self.answers = answers.read(path, self._shape)
        if self.answers is not None or not fabric.is_global_zero:
            return True
        lay_out(self.teacher.to(fabric.device), self.config.training)
        with fabric.autocast():
            self.answers = answers.asked(self.teacher, self._images(), stop)
        if self.answers is not None:
            answers.keep(path, self.answers)
        return self.answers is not None

    def _images(self) -> Iterator[Tensor]:
        """All training samples in order, in the memory format of the training."""
        recipe = self.config.training
        for x, _ in InOrder(self.data.train, recipe.batch_size):
            is_image = recipe.channels_last and x.dim() == 4
            yield x.contiguous(memory_format=torch.channels_last) if is_image else x

    def examined(self) -> dict[str, Any]:
        """Accuracy of the teacher on the test data and, where its operations can be counted, its cost."""
        if self.teacher is None:
            return {"sources": [], "top1_accuracy": None, "indicators": None}
        batches, flip = InOrder(self.data.test), self.config.flip
        recognition = recognize(self.teacher, batches, self.data.n_classes, flip=flip)
        whole = Recognizer(self.teacher, flip=flip)
        row = None
        try:
            cost = meter(whole, spread(batches, len(self.data.test), METERED))
            row = Indicators("teacher", "fp32", self.teacher.steps, recognition, cost, cost.bytes).to_json()
        except ValueError:  # layers whose operations cannot be counted, such as torch's attention
            pass
        return {"sources": list(self.wanted.names), "top1_accuracy": recognition.top1[-1], "indicators": row}


def taught(config: TrainingConfig, data: Data, students: Sequence[Student]) -> Teaching:
    """The teaching of a training whose config has a teacher.

    Raises:
        ModelError: there is no such teacher, it is damaged or unsafe, or cannot take the data.
        ConfigError: the lessons do not fit the networks.
    """
    assert config.teacher is not None
    teacher, notes = _teacher_for(config, data)
    x, _ = data.train.take(torch.arange(2), None)
    pupils = [student for student in students if config.teacher.twin or student.name == NETWORK]
    try:
        lessons = {
            student.name: Lessons(config.teacher, teacher, student.network, x, config.seed) for student in pupils
        }
    except ValueError as error:
        raise ConfigError(config.name, [f"teacher.{error}"]) from error
    return Teaching(config, data, teacher, lessons, notes)


def _teacher_for(config: TrainingConfig, data: Data) -> tuple[Teacher | None, list[str]]:
    """The teacher for normalised samples of ``data``, and notes on how it sees them."""
    assert config.teacher is not None
    opened = list(config.teacher.opened())
    if not opened:
        return None, []
    for _, about in opened:
        about.check(data.in_channels, data.n_classes)
    teacher = Teacher([rescaled(network, about, data.mean, data.std) for network, about in opened])
    x, _ = data.train.take(torch.arange(2), None)
    try:
        teacher.check(x, data.n_classes, config.teacher.names)
    except ValueError as error:
        raise ModelError(str(error)) from error
    return teacher, list(_notes(config, data, [about for _, about in opened]))


def _notes(config: TrainingConfig, data: Data, known: Sequence[About]) -> Iterator[str]:
    precision = "bfloat16" if config.fabric.precision == "bf16-mixed" else "float32"
    yield f"teacher: {', '.join(about.source for about in known)}, in {precision} as the network"
    for about in known:
        if about.mean is None:
            yield f"{about.source} does not say how its inputs were scaled, and sees the network's; set teacher.mean"
        if about.image_size not in (None, data.image_size):
            yield f"{about.source} has learned images of {about.image_size}, and sees {data.image_size}"
        if about.classes is not None and list(about.classes) != data.classes:
            yield f"classes of {about.source} have other names than those of the data, and are matched by their order"
