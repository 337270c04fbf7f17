"""Streams of experiences: a data set split by class, or shifted, as an Avalanche benchmark."""

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
    """The stream of ``config``; ``data`` is its data set if that is already loaded.

    Raises:
        ValueError: for unknown classes of a folder of images; the config checks those of other data sets.
        ImportError: without Avalanche. Also everything that `load_data` raises.
    """
    config.groups(count_classes(config.data) if data is None else data.n_classes)
    try:
        import avalanche.benchmarks  # noqa: F401  # takes many seconds to import
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Avalanche makes the streams: pip install 'snn4-agent[continual]'") from error
    return Stream(config, load_data(config.data) if data is None else data)


class Stream:
    """Experiences of a data set: Avalanche's streams ``train``, ``validation`` and ``test``, with the same classes.

    Samples are (x, y, t): an image (C, H, W) or event frames (T, 2, H, W), uint8; a label; a task label. x is a view of
    the data set, without a copy, unless the experience is shifted.
    """

    def __init__(self, config: StreamConfig, data: Data) -> None:
        self.config, self.data = config, data
        self.scenario, self.bit_depth = config.scenario, config.data.bit_depth
        self.in_channels, self.image_size = data.in_channels, data.image_size
        self.is_events = data.is_events
        self.mean, self.std = data.mean, data.std
        self.classes = config.groups(data.n_classes)
        """Class numbers of the data set in each experience, in the order of their labels."""
        self.labels = _labels(self.classes, config.scenario)
        """The label of each of these classes. Scenario class: its number in the data set, without counting classes left
        out. Scenarios task and domain: from 0 in each experience."""
        self.n_classes = 1 + max(max(group) for group in self.labels)
        """Outputs per head. There is one head for all experiences, or one per experience in scenario task."""
        domains = shifts(config.shift, config.experiences, data.image_size, config.shift_seed)
        self.names = _unique([shift.name for shift in domains] if domains else _names(self.classes, data.classes))
        """Of the experiences, for humans."""
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        self.benchmark = _benchmark({name: self._experiences(part, domains) for name, part in parts.items()})
        self.train: CLStream[Any] = self.benchmark.train_stream
        self.validation: CLStream[Any] = self.benchmark.validation_stream
        self.test: CLStream[Any] = self.benchmark.test_stream

    def __len__(self) -> int:
        """The number of experiences."""
        return len(self.classes)

    def augment(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Samples (B, …), uint8, with the augmentation of the data set, drawn from random ``numbers`` (B,), uniform in
        0 to 2^62."""
        return self.data.train.augmented(x, numbers)

    def normalized(self, x: Tensor) -> Tensor:
        """uint8 samples (B, …) as float32 for a network: images (B, C, H, W), events (T, B, 2, H, W)."""
        return self.data.train.normalized(x)

    def _experiences(self, part: Samples, domains: Sequence[Shift] | None) -> list[AvalancheDataset[Any]]:
        """Avalanche's datasets of a part of the data set.

        They are subsets of a single flat dataset, and remain so however Avalanche joins and splits them. So access to a
        sample in a replay buffer is as fast as to any other.
        """
        rows: list[Tensor] = []
        targets: list[Tensor] = []
        for classes, labels in zip(self.classes, self.labels, strict=True):
            label_of = torch.full((self.data.n_classes,), -1)
            label_of[classes] = torch.tensor(labels)
            targets_of_part = label_of[part.labels]
            rows.append(part.rows[targets_of_part >= 0])
            targets.append(targets_of_part[targets_of_part >= 0])
        sizes = [len(experience) for experience in rows]
        whole = _dataset(_Pictures(part, torch.cat(rows), torch.cat(targets), sizes, domains), self.scenario)
        return [whole.subset(places.tolist()) for places in torch.arange(sum(sizes)).split(sizes)]


class _Pictures:
    """Samples (x, y) of all experiences, in order."""

    def __init__(
        self, part: Samples, rows: Tensor, labels: Tensor, sizes: list[int], domains: Sequence[Shift] | None
    ) -> None:
        self.pixels, self.domains = part.pixels, domains
        # Lists: samples are fetched one by one, and reading a tensor's element costs more than the view of an image.
        self.rows, self.labels = rows.tolist(), labels.tolist()
        self.experiences = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        row = self.rows[place]
        x = self.pixels[row] if isinstance(self.pixels, Tensor) else self.pixels[torch.tensor([row])][0]
        return x if self.domains is None else self.domains[self.experiences[place]](x), self.labels[place]


def _labels(classes: list[list[int]], scenario: Scenario) -> list[list[int]]:
    if scenario != "class":
        return [list(range(len(group))) for group in classes]
    number = {class_: i for i, class_ in enumerate(sorted(class_ for group in classes for class_ in group))}
    return [[number[class_] for class_ in group] for group in classes]


def _names(classes: list[list[int]], names: Sequence[str]) -> list[str]:
    return [", ".join(names[class_] for class_ in group) for group in classes]


def _unique(names: list[str]) -> list[str]:
    """The same names, numbered if two are equal."""
    return names if len(set(names)) == len(names) else [f"{number}: {name}" for number, name in enumerate(names, 1)]


def _dataset(pictures: _Pictures, scenario: Scenario) -> AvalancheDataset[Any]:
    from avalanche.benchmarks.utils import ConstantSequence, DataAttribute, TaskLabels
    from avalanche.benchmarks.utils.classification_dataset import TaskAwareSupervisedClassificationDataset

    tasks = pictures.experiences if scenario == "task" else ConstantSequence(0, len(pictures))
    attributes = [DataAttribute(pictures.labels, "targets"), TaskLabels(tasks)]
    return TaskAwareSupervisedClassificationDataset([pictures], data_attributes=attributes)


def _benchmark(streams: dict[str, list[AvalancheDataset[Any]]]) -> CLScenario[Any]:
    """The benchmark with ``classes_in_this_experience`` and similar attributes, and ``task_label``."""
    from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels

    return with_task_labels(with_classes_timeline(benchmark_from_datasets(**streams)))
