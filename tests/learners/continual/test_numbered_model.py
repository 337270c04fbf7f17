from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

MASK = 2**64 - 1


def splitmix64(x: int) -> int:
    """SplitMix64 by its definition, with unsigned numbers."""
    x = (x * 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_mixed_numbers() -> None:
    from snn4.learners.continual.numbered_model import _mixed

    numbers = torch.tensor([0, 1, 2, 3, 2**40 + 5, 2**62 + 12345])
    assert _mixed(numbers).tolist() == [splitmix64(x) >> 2 for x in numbers.tolist()]
    mixed = _mixed(torch.arange(10_000))
    assert mixed.min() >= 0
    assert mixed.max() < 2**62
    assert abs(mixed.double().mean() / 2**61 - 1) < 0.02


def test_a_teacher_sees_samples_augmented_alike(make_learner: Any) -> None:
    model = make_learner("naive")._model
    teacher, sight = copy.deepcopy(model), model.sight
    numbers = torch.arange(12)
    assert torch.equal(sight.images(numbers), sight.samples.images(numbers))
    sight.update = 5
    once, again = sight.images(numbers), teacher.sight.images(numbers.flip(0)).flip(0)
    assert torch.equal(once, again)
    assert not torch.equal(once, sight.samples.images(numbers))
    sight.update = 6
    assert not torch.equal(once, sight.images(numbers))
    with torch.no_grad():
        next(teacher.parameters()).zero_()
    assert next(model.parameters()).abs().sum() > 0


def test_nothing_is_augmented_where_it_should_not_be(make_learner: Any) -> None:
    sight = make_learner("naive", augment=False)._model.sight
    sight.update = 5
    assert torch.equal(sight.images(torch.arange(12)), sight.samples.images(torch.arange(12)))


@pytest.mark.parametrize("ann", [False, True])
def test_heads(ann: bool, make_learner: Any) -> None:
    learner = make_learner("naive", "task", ann)
    model, samples = learner._model, learner._making.samples
    numbers = torch.cat([torch.arange(first, first + 3) for first in samples.first[:-1]])
    with torch.no_grad(), model.evaluated():
        whole = learner.network(learner.stream.normalized(samples.images(numbers)))
        own, by_task = model(numbers), model(numbers, None)
    for i, task in enumerate([0, 0, 0, 1, 1, 1, 2, 2, 2]):
        assert torch.allclose(own[i], whole[i, 2 * task : 2 * task + 2])
        assert torch.allclose(own[i], by_task[task][i])
    assert by_task.keys() == {0, 1, 2}


def test_frozen_lower_layers_stay_in_evaluation_mode(make_learner: Any) -> None:
    model = make_learner("spike-replay")._model
    model.freeze_lower()
    model.train()
    modes = [layer.training for layer in model.network.network]
    assert modes == [False] * 3 + [True] * (len(modes) - 3)
    with model.evaluated():
        assert not any(layer.training for layer in model.modules())
    assert [layer.training for layer in model.network.network] == modes
