"""The stream of a learner, and its training samples by number, as Avalanche sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class ExperienceStream(Protocol):
    """Experiences with the same classes in training and testing, such as those of `snn4.envs.stream`.

    Experiences are objects of Avalanche; their datasets give (x, y, t): raw bytes, label, task label.
    """

    scenario: Any
    """class, task or domain."""
    n_classes: int
    """Outputs per head."""
    is_events: bool
    bit_depth: int
    """Bits per pixel."""
    train: Sequence[Any]

    def augment(self, x: Tensor, numbers: Tensor) -> Tensor: ...

    def normalized(self, x: Tensor) -> Tensor: ...


def n_outputs(stream: ExperienceStream) -> int:
    """Number of outputs for the stream: one head per task label, or one head without task labels."""
    return stream.n_classes * (len(stream.train) if stream.scenario == "task" else 1)


def stacked(dataset: Any, places: Sequence[int]) -> Tensor:
    """Raw samples (B, …) of a dataset."""
    return torch.stack([dataset[place][0] for place in places])


class NumberedSamples:
    """Training samples, numbered across all experiences.

    Avalanche's loaders fetch samples one by one, its GEM and iCaRL copy images into memory, and its checkpoints pickle
    whole strategies. Here strategies get numbers instead of images: `experiences` has datasets of (number, y, t), and
    networks look up the images. So a memory is a list of numbers, which can be saved as plain data.
    """

    def __init__(self, stream: ExperienceStream) -> None:
        self._datasets = [experience.dataset for experience in stream.train]
        sizes = [len(dataset) for dataset in self._datasets]
        self.first = [sum(sizes[:k]) for k in range(len(sizes) + 1)]
        """Number of the first sample of each experience; last, the number of all samples."""
        self.labels = torch.tensor([int(y) for dataset in self._datasets for y in dataset.targets])
        self.tasks = torch.tensor([int(t) for dataset in self._datasets for t in dataset.targets_task_labels])
        self.sample_bytes = -(-stacked(self._datasets[0], [0]).numel() * stream.bit_depth // 8)
        """Size of a raw sample with packed bits."""
        self._whole = _numbered_dataset(self.labels.tolist(), self.tasks.tolist())
        self.experiences = self._numbered_experiences()
        """Avalanche's experiences, of numbers."""

    def __deepcopy__(self, memo: Any) -> NumberedSamples:
        return self  # copies of a network share the images

    def images(self, numbers: Tensor) -> Tensor:
        """Raw samples (B, …), uint8."""
        starts = torch.tensor(self.first[1:])
        experiences = torch.bucketize(numbers, starts, right=True).tolist()
        pairs = zip(experiences, numbers.tolist(), strict=True)
        return torch.stack([self._datasets[k][number - self.first[k]][0] for k, number in pairs])

    def subset(self, numbers: Tensor) -> Any:
        """Avalanche's dataset of the samples."""
        return self._whole.subset(numbers.tolist())

    def _numbered_experiences(self) -> list[Any]:
        from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels

        ends = zip(self.first, self.first[1:], strict=False)
        parts = [self._whole.subset(range(first, end)) for first, end in ends]
        return list(with_task_labels(with_classes_timeline(benchmark_from_datasets(train=parts))).train_stream)


def numbers_of(dataset: Any) -> Tensor:
    """Numbers of the samples in a dataset that Avalanche made from `NumberedSamples`."""
    return torch.tensor([sample[0] for sample in dataset], dtype=torch.int64)


class Batches:
    """Mini-batches in random order: lists of tensors as from Avalanche's loaders, but indexed as a whole.

    Args:
        columns: of all samples, such as `columns` of a dataset.
        batch_size: samples per mini-batch; the last one of an epoch has the remainder. A remainder of one sample joins
            the previous mini-batch, since norms need a variance.
        passes: consecutive repetitions of each mini-batch.
    """

    def __init__(self, columns: Sequence[Tensor], batch_size: int, passes: int = 1) -> None:
        self.columns = columns
        self.batch_size = batch_size
        self.passes = passes
        self.samples = len(columns[0])

    def __len__(self) -> int:
        n = -(-self.samples // self.batch_size)
        alone = n > 1 and self.samples - (n - 1) * self.batch_size == 1
        return (n - alone) * self.passes

    @property
    def mean_size(self) -> float:
        """Mean number of samples per mini-batch, over an epoch."""
        return self.samples * self.passes / len(self)

    @property
    def whole_size(self) -> int:
        """Number of samples of a full mini-batch."""
        return min(self.batch_size, self.samples)

    def __iter__(self) -> Iterator[list[Tensor]]:
        for chosen in self._split(torch.randperm(self.samples)):
            for _ in range(self.passes):
                yield self._chosen(chosen)

    def _chosen(self, places: Tensor) -> list[Tensor]:
        return [column[places] for column in self.columns]  # a new list, which strategies extend

    def _split(self, order: Tensor) -> list[Tensor]:
        *others, last = order.split(self.batch_size)
        return [*others[:-1], torch.cat([others[-1], last])] if others and len(last) == 1 else [*others, last]

    def endless(self) -> Iterator[list[Tensor]]:
        """Mini-batches of all epochs without remainders: all have `whole_size` samples."""
        while True:
            for chosen in torch.randperm(self.samples).split(self.whole_size):
                if len(chosen) == self.whole_size:
                    yield self._chosen(chosen)


def columns(dataset: Any) -> list[Tensor]:
    """Columns of a dataset of Avalanche: numbers, labels, tasks, and other values per sample."""
    values = zip(*dataset, strict=True)
    return [torch.stack(column) if isinstance(column[0], Tensor) else torch.tensor(column) for column in values]


class _Numbers:
    """(number, y) for each training sample."""

    def __init__(self, labels: list[int]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[int, int]:
        return number, self.labels[number]


def _numbered_dataset(labels: list[int], tasks: list[int]) -> Any:
    from avalanche.benchmarks.utils import DataAttribute, TaskLabels
    from avalanche.benchmarks.utils.classification_dataset import TaskAwareSupervisedClassificationDataset

    attributes = [DataAttribute(labels, "targets"), TaskLabels(tasks)]
    return TaskAwareSupervisedClassificationDataset([_Numbers(labels)], data_attributes=attributes)
