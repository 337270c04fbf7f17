from __future__ import annotations

from typing import Any

import pytest
import torch
from avalanche.training.supervised.er_ace import ACECriterion
from torch import Tensor

from snn4.learners.continual.er_ace import Arriving, asymmetric_cross_entropy
from snn4.learners.continual.experiences import NumberedSamples, columns


def test_the_loss_is_avalanches() -> None:
    torch.manual_seed(0)
    new, old = torch.randn(8, 6, requires_grad=True), torch.randn(5, 6, requires_grad=True)
    labels, old_labels = torch.tensor([4, 2, 2, 4, 4, 2, 4, 2]), torch.tensor([0, 1, 2, 5, 4])
    losses = [loss(new, labels, old, old_labels) for loss in (asymmetric_cross_entropy, ACECriterion())]
    torch.testing.assert_close(*losses)
    gradients = (torch.autograd.grad(loss, [new, old]) for loss in losses)
    for gradient, avalanche_gradient in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, avalanche_gradient)


def test_scores_far_apart_have_a_loss() -> None:
    new, old = torch.tensor([[0.0, 400.0], [0.0, 1.0]]), torch.tensor([[0.0, 400.0]])
    assert asymmetric_cross_entropy(new, torch.tensor([0, 1]), old, torch.tensor([0])) > 100


def numbers(memory: Arriving) -> set[int]:
    return set(memory.columns[0][memory.present].tolist())


def test_samples_come_when_they_are_met_and_then_others_go(streams: Any) -> None:
    samples = NumberedSamples(streams["class"])
    first, second = (samples.experiences[n].dataset for n in (0, 1))
    before, after = first.subset(range(10)), first.subset(range(6)).concat(second.subset(range(4)))
    old, new = (set(columns(x)[0].tolist()) for x in (before, after))
    coming, leaving = sorted(new - old), old - new
    memory = Arriving(before, after, 10, 4)
    assert numbers(memory) == old
    memory.meet(torch.tensor([coming[2], 10**6]))
    assert numbers(memory) > {coming[2], *(old & new)}
    assert len(numbers(memory)) == 10
    memory.meet(torch.tensor([coming[2]]))  # again, in another pass
    assert len(numbers(memory) & leaving) == 3
    drawn = [next(memory) for _ in range(60)]
    assert all(len(x.unique()) == 4 for x, _, _ in drawn)
    assert set(torch.cat([x for x, _, _ in drawn]).tolist()) == numbers(memory)
    assert all(torch.equal(y, samples.labels[x]) and torch.equal(t, samples.tasks[x]) for x, y, t in drawn)
    memory.meet(torch.tensor(coming))
    assert numbers(memory) == new


def test_a_memory_with_room_lets_nothing_go(streams: Any) -> None:
    dataset = NumberedSamples(streams["class"]).experiences[0].dataset
    memory = Arriving(dataset.subset(range(3)), dataset.subset(range(5)), 20, 4)
    assert len(next(memory)[0]) == 3
    memory.meet(columns(dataset)[0])
    assert len(numbers(memory)) == 5


@pytest.mark.parametrize("passes", [1, 2])
def test_nothing_is_replayed_before_it_was_met(passes: int, make_learner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second experience on; also for samples that are in memory at the end of their experience."""
    learner = make_learner("er-ace", batch_size=5, memory_batch_size=20, passes=passes)
    met: set[int] = set()
    replayed: set[int] = set()
    draw, meet = Arriving.__next__, Arriving.meet

    def drawn(memory: Arriving) -> list[Tensor]:
        batch = draw(memory)
        assert set(batch[0].tolist()) <= met
        replayed.update(batch[0].tolist())
        return batch

    def noted(memory: Arriving, numbers: Tensor) -> None:
        met.update(numbers.tolist())
        meet(memory, numbers)
        assert memory.present.sum() <= 60

    monkeypatch.setattr(Arriving, "__next__", drawn)
    monkeypatch.setattr(Arriving, "meet", noted)
    samples = learner._making.samples
    list(learner.learn(learner.stream.train[0]))
    met.update(range(samples.first[1]))
    list(learner.learn(learner.stream.train[1]))
    list(learner.learn(learner.stream.train[2]))
    assert any(number >= samples.first[2] for number in replayed)
    rows = [set(group["rows"].tolist()) for group in learner.state()["memory"]["groups"]]
    assert set.union(*rows) <= met
