from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch

from snn4.envs.data.datasets import DataConfig
from snn4.envs.stream import Stream, make_stream
from snn4.envs.stream_config import StreamConfig
from snn4.learners.continual.experiences import Batches, NumberedSamples, columns, numbers_of
from snn4.learners.randomness import Randomness


def test_numbers_are_samples(streams: dict[str, Stream]) -> None:
    for stream in streams.values():
        samples = NumberedSamples(stream)
        singles = [sample for experience in stream.train for sample in experience.dataset]
        numbers = torch.tensor([len(singles) - 1, 0, *torch.randperm(len(singles)).tolist()])
        images = samples.images(numbers)
        assert images.dtype == torch.uint8
        assert samples.sample_bytes == images[0].nbytes == 64
        for number, x in zip(numbers.tolist(), images, strict=True):
            assert torch.equal(x, singles[number][0])
            labels = samples.labels[number], samples.tasks[number]
            assert tuple(map(int, labels)) == tuple(map(int, singles[number][1:]))
        assert len(samples.labels) == samples.first[-1] == len(singles)


@pytest.mark.parametrize(("bits", "size"), [(1, 8), (3, 24), (8, 64)])
def test_a_memory_holds_samples_of_its_bit_depth(bits: int, size: int) -> None:
    samples = NumberedSamples(make_stream(StreamConfig(DataConfig(bit_depth=bits), experiences=5)))
    assert samples.sample_bytes == size  # of 8 x 8 pixels
    assert len(samples.images(torch.arange(200)).unique()) <= 2**bits


def test_experiences_of_numbers_are_those_of_images(streams: dict[str, Stream]) -> None:
    for stream in streams.values():
        samples = NumberedSamples(stream)
        for numbered, experience in zip(samples.experiences, stream.train, strict=True):
            number = experience.current_experience
            first, end = samples.first[number : number + 2]
            assert numbered.current_experience == number
            assert numbered.classes_in_this_experience == experience.classes_in_this_experience
            assert numbered.task_labels == experience.task_labels
            assert numbers_of(numbered.dataset).tolist() == list(range(first, end))


def test_a_buffer_is_made_anew_from_its_numbers(streams: dict[str, Stream]) -> None:
    samples = NumberedSamples(streams["task"])
    first = samples.experiences[0].dataset.subset([3, 1]).concat(samples.experiences[2].dataset.subset([0]))
    again = samples.subset(numbers_of(first))
    assert [list(sample) for sample in again] == [list(sample) for sample in first]
    assert [x.tolist() for x in columns(again)] == [list(column) for column in zip(*first, strict=True)]


def test_a_copy_looks_at_the_same_images(streams: dict[str, Stream]) -> None:
    samples = NumberedSamples(streams["class"])
    assert copy.deepcopy(samples) is samples


def test_batches_are_all_samples_in_another_order_each_time() -> None:
    table = [torch.arange(10), 10 * torch.arange(10)]
    batches = Batches(table, 4, passes=2)
    torch.manual_seed(0)
    once, again = list(batches), list(batches)
    assert len(batches) == len(once) == 6
    assert [len(x) for x, _ in once] == [4, 4, 4, 4, 2, 2]
    assert all(torch.equal(x[0], y[0]) for x, y in zip(once[::2], once[1::2], strict=True))
    assert sorted(torch.cat([x for x, _ in once[::2]]).tolist()) == list(range(10))
    assert all(torch.equal(10 * x, y) for x, y in once)
    assert not all(torch.equal(x[0], y[0]) for x, y in zip(once, again, strict=True))
    once[0][0] = torch.zeros(1)  # strategies add to their mini-batch
    assert torch.equal(table[0], torch.arange(10))


def test_a_lone_last_sample_joins_the_batch_before() -> None:
    batches = Batches([torch.arange(10)], 3)
    assert [len(x) for (x,) in batches] == [3, 3, 4]
    assert len(batches) == 3
    assert [len(x) for (x,) in Batches([torch.arange(3)], 1)] == [1, 2]
    assert [len(x) for (x,) in Batches([torch.arange(1)], 3)] == [1]


def test_endless_batches_are_of_one_size() -> None:
    for size, wanted in ((4, 4), (20, 10), (9, 9)):
        endless = Batches([torch.arange(10)], size).endless()
        assert {len(next(endless)[0]) for _ in range(7)} == {wanted}


def draws() -> list[Any]:
    return [torch.rand(1).item(), np.random.rand(), random.random()]  # noqa: NPY002


def test_randomness_of_its_own() -> None:
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    outside = [*draws(), *draws()]
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    randomness = Randomness(5, 0)
    with randomness:
        inside = draws()
    between = draws()
    with randomness:
        inside += draws()
    assert [*between, *draws()] == outside
    with Randomness(5, 0):
        assert [*draws(), *draws()] == inside
    with Randomness(5, 1):
        assert not set(draws()) & set(inside)
