from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from snn4.learners.continual.experiences import Batches
from snn4.learners.continual.logit_adjustment import log_frequencies


def batches(labels: list[int], size: int, tasks: list[int] | None = None, passes: int = 1) -> Batches:
    n = len(labels)
    return Batches([torch.arange(n), torch.tensor(labels), torch.tensor(tasks or [0] * n)], size, passes)


@pytest.mark.parametrize("passes", [1, 3])
def test_frequencies_are_those_of_the_draws(passes: int) -> None:
    """Also if the last mini-batch is a quarter of the first one."""
    torch.manual_seed(0)
    new, old = batches([4] * 30 + [3] * 10, 32, passes=passes), batches([0] * 3 + [1] * 2 + [2], 4)
    pairs = itertools.islice(zip(itertools.chain(*itertools.repeat(new, 1500)), old.endless(), strict=False), 3000)
    drawn = torch.cat([torch.cat([x[1], y[1]]) for x, y in pairs])
    counted = drawn.bincount(minlength=5) / len(drawn)
    frequencies = log_frequencies(((new, new.mean_size), (old, old.whole_size)), 1, 5)
    assert frequencies.shape == (1, 5)
    assert torch.allclose(frequencies[0].exp(), counted, atol=0.01)


def test_a_memory_smaller_than_its_batch_comes_whole() -> None:
    new, old = batches([1] * 8, 4), batches([0, 0], 4)
    frequencies = log_frequencies(((new, new.mean_size), (old, old.whole_size)), 1, 2)
    assert torch.allclose(frequencies.exp(), torch.tensor([[2 / 6, 4 / 6]]))


def test_each_head_has_its_own_and_classes_to_come_are_as_the_rarest() -> None:
    parts = ((batches([0, 1, 1, 1], 4, [1] * 4), 4), (batches([0, 0, 0, 1], 4, [0] * 4), 4))
    frequencies = log_frequencies(parts, 2, 3).exp()
    assert torch.allclose(frequencies, torch.tensor([[3 / 5, 1 / 5, 1 / 5], [1 / 5, 3 / 5, 1 / 5]]))
    together = log_frequencies(parts, 1, 3).exp()  # tasks that share a head
    assert torch.allclose(together, torch.tensor([[4 / 12, 4 / 12, 4 / 12]]))


def test_scores_that_learn_nothing_from_samples_favour_no_class() -> None:
    """Without adjustment, such scores become the logarithms of the frequencies."""
    parts = ((batches([2] * 8, 8), 8), (batches([0, 0, 0, 1], 4), 4))
    shares = torch.tensor([3 / 12, 1 / 12, 8 / 12])
    added = log_frequencies(parts, 1, 3)[0]
    for adjustment, expected in ((0.0, shares), (1.0, torch.full((3,), 1 / 3))):
        scores = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.LBFGS([scores], max_iter=100)

        def loss(scores: torch.Tensor = scores, adjustment: float = adjustment) -> torch.Tensor:
            return -(shares * F.log_softmax(scores + adjustment * added, 0)).sum()

        def closure(optimizer: Any = optimizer, loss: Any = loss) -> torch.Tensor:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        optimizer.step(closure)
        assert torch.allclose(scores.softmax(0), expected, atol=1e-3)


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
def test_updates_learn_from_adjusted_scores(scenario: str, make_learner: Any) -> None:
    """Loss and frequencies, computed here from the labels of an update."""
    learner = make_learner("replay", scenario, memory_batch_size=4, options={"logit_adjustment": 0.7})
    list(learner.learn(learner.stream.train[0]))
    recorded: dict[str, Any] = {}
    make = learner._make

    def watched(*args: Any) -> Any:
        strategy = recorded["strategy"] = make(*args)
        compare, forward = strategy._criterion, strategy.forward

        def scores() -> Any:
            recorded["raw"] = forward()
            return recorded["raw"]

        def criterion(output: Any, labels: Any) -> Any:
            recorded.update(output=output, labels=labels, tasks=strategy.mb_task_id)
            return compare(output, labels)

        strategy.forward, strategy._criterion = scores, criterion
        return strategy

    learner._make = watched
    list(learner.learn(learner.stream.train[1], stop=lambda: True))
    samples = learner._making.samples
    new = torch.arange(samples.first[1], samples.first[2])
    old = torch.cat([group["rows"] for group in learner.state()["memory"]["groups"]])
    assert torch.equal(recorded["strategy"].mb_output, recorded["raw"])  # accuracy is that of the network alone
    n = recorded["raw"].shape[1]
    assert recorded["labels"].shape == (14,)
    for raw, output, task in zip(recorded["raw"], recorded["output"], recorded["tasks"], strict=True):
        shares = torch.zeros(n)
        for size, part in ((len(new) / -(-len(new) // 10), new), (4, old)):
            rivals = part[samples.tasks[part] == task] if scenario == "task" else part
            shares += size / len(part) * samples.labels[rivals].bincount(minlength=n)
        shares = shares.clamp(min=float(shares[shares > 0].min())).log()
        added = output - raw
        assert torch.allclose(added - added[0], 0.7 * (shares - shares[0]), atol=1e-4)


def test_old_classes_gain(make_learner: Any) -> None:
    """With many new samples for each old one."""
    accuracy = {}
    for adjustment in (0.0, 1.0):
        learner = make_learner(
            "replay", memory_batch_size=2, options={"logit_adjustment": adjustment}, seed=5, epochs=8
        )
        for experience in learner.stream.train:
            list(learner.learn(experience))
        accuracy[adjustment] = sum(learner.scores(x) for x in learner.stream.test[:2])
    assert accuracy[1.0] > accuracy[0.0] + 0.1
