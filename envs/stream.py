"""Streams of experiences: a data set parted by its classes, or shifted, as an Avalanche benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from snn4.envs.data.datasets import count_classes, load_data
from snn4.envs.data.samples import Data, Samples
from snn4.envs.shifts import Shift, shifts
from snn4.envs.stream_config import SCENARIOS as SCENARIOS
from snn4.envs.stream_config import Scenario as Scenario
from snn4.envs.stream_config import StreamConfig as StreamConfig

if TYPE_CHECKING:
    from avalanche.benchmarks import CLScenario, CLStream
    from avalanche.benchmarks.utils import AvalancheDataset


def make_stream(config: StreamConfig, data: Data | None = None) -> Stream:
    """The stream, with ``data`` as its data set where that has been loaded already.

    Raises:
        ValueError: for classes that a folder of images does not have; the other data sets' are known to the config.
        ImportError: without Avalanche. And everything that `load_data` raises.
    """
    config.groups(count_classes(config.data) if data is None else data.n_classes)
    try:
        import avalanche.benchmarks  # noqa: F401  # takes many seconds to import
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Avalanche makes the streams: pip install 'snn4-agent[continual]'") from error
    return Stream(config, load_data(config.data) if data is None else data)


class Stream:
    """Experiences of a data set: Avalanche's streams ``train``, ``validation`` and ``test``, with equal classes.

    Samples are (x, y, t): an image (C, H, W) or event frames (T, 2, H, W), uint8; its label; its task label. x is a
    view of the data set, shifted where the experience is: nothing is copied.
    """

    def __init__(self, config: StreamConfig, data: Data) -> None:
        self.config, self.data, self.scenario = config, data, config.scenario
        self.in_channels, self.image_size, self.is_events = data.in_channels, data.image_size, data.is_events
        self.mean, self.std = data.mean, data.std
        self.bit_depth = config.data.bit_depth
        self.classes = config.groups(data.n_classes)
        """The data set's numbers of the classes in each experience, in the order of their labels."""
        self.labels = _labels(self.classes, config.scenario)
        """What a network is to answer for each of these. Class: the data set's numbers, counted without classes that
        are left out. Task and domain: from 0 in each experience."""
        self.n_classes = 1 + max(max(group) for group in self.labels)
        """Outputs of a head: one for all experiences, or for each with task labels (scenario task)."""
        moved = shifts(config.shift, config.experiences, data.image_size, config.shift_seed)
        self.names = _unique([shift.name for shift in moved] if moved else _names(self.classes, data.classes))
        """What each experience is, for humans."""
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        self.benchmark = _benchmark({name: self._experiences(part, moved) for name, part in parts.items()})
        self.train: CLStream[Any] = self.benchmark.train_stream
        self.validation: CLStream[Any] = self.benchmark.validation_stream
        self.test: CLStream[Any] = self.benchmark.test_stream

    def __len__(self) -> int:
        """The number of experiences."""
        return len(self.classes)

    def augment(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Samples (B, …), uint8, with the augmentation of the data set that random ``numbers`` (B,), uniform in 0 to
        2^62, tell."""
        return self.data.train.augmented(x, numbers)

    def normalized(self, x: Tensor) -> Tensor:
        """Samples (B, …), uint8, for a network: images (B, C, H, W), events (T, B, 2, H, W), float32."""
        return self.data.train.normalized(x)

    def _experiences(self, part: Samples, moved: Sequence[Shift] | None) -> list[AvalancheDataset[Any]]:
        """Avalanche's datasets of a part of the data set.

        They are subsets of a single flat one, and remain so however Avalanche joins and parts them: a sample of a
        replay buffer is as quickly got at as any other.
        """
        rows: list[Tensor] = []
        targets: list[Tensor] = []
        for classes, labels in zip(self.classes, self.labels, strict=True):
            label_of = torch.full((self.data.n_classes,), -1)
            label_of[classes] = torch.tensor(labels)
            ours = label_of[part.labels]
            rows.append(part.rows[ours >= 0])
            targets.append(ours[ours >= 0])
        sizes = [len(each) for each in rows]
        whole = _dataset(_Pictures(part, torch.cat(rows), torch.cat(targets), sizes, moved), self.scenario)
        return [whole.subset(places.tolist()) for places in torch.arange(sum(sizes)).split(sizes)]


class _Pictures:
    """Samples of all experiences, one after another: (x, y)."""

    def __init__(
        self, part: Samples, rows: Tensor, labels: Tensor, sizes: list[int], moved: Sequence[Shift] | None
    ) -> None:
        self.pixels, self.moved = part.pixels, moved
        # Lists: samples are asked for one by one, and a tensor's element costs more than the view of an image.
        self.rows, self.labels = rows.tolist(), labels.tolist()
        self.experiences = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        row = self.rows[place]
        x = self.pixels[row] if isinstance(self.pixels, Tensor) else self.pixels[torch.tensor([row])][0]
        return x if self.moved is None else self.moved[self.experiences[place]](x), self.labels[place]


def _labels(classes: list[list[int]], scenario: Scenario) -> list[list[int]]:
    if scenario != "class":
        return [list(range(len(group))) for group in classes]
    number = {class_: i for i, class_ in enumerate(sorted(class_ for group in classes for class_ in group))}
    return [[number[class_] for class_ in group] for group in classes]


def _names(classes: list[list[int]], names: Sequence[str]) -> list[str]:
    return [", ".join(names[class_] for class_ in group) for group in classes]


def _unique(names: list[str]) -> list[str]:
    """With their numbers, where two are alike."""
    return names if len(set(names)) == len(names) else [f"{number}: {name}" for number, name in enumerate(names, 1)]


def _dataset(pictures: _Pictures, scenario: Scenario) -> AvalancheDataset[Any]:
    from avalanche.benchmarks.utils import ConstantSequence, DataAttribute, TaskLabels
    from avalanche.benchmarks.utils.classification_dataset import TaskAwareSupervisedClassificationDataset

    tasks = pictures.experiences if scenario == "task" else ConstantSequence(0, len(pictures))
    attributes = [DataAttribute(pictures.labels, "targets"), TaskLabels(tasks)]
    return TaskAwareSupervisedClassificationDataset([pictures], data_attributes=attributes)


def _benchmark(streams: dict[str, list[AvalancheDataset[Any]]]) -> CLScenario[Any]:
    """With ``classes_in_this_experience`` and its like, and ``task_label``."""
    from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels

    return with_task_labels(with_classes_timeline(benchmark_from_datasets(**streams)))
