from __future__ import annotations

from typing import Any

import pytest
import torch

from snn4.learners.continual.earlier_self import EarlierSelf
from snn4.learners.continual.experiences import Batches
from snn4.learners.continual.learner import batches


@pytest.fixture
def teacher(make_learner: Any) -> Any:
    def made(scenario: str, strength: float = 1.0) -> EarlierSelf:
        learner = make_learner("replay", scenario)
        first = learner.stream.train[0]
        list(learner.learn(first))
        samples = learner._making.samples
        old = torch.arange(samples.first[1])
        memory = Batches([old, samples.labels[old], samples.tasks[old]], 4)
        new = learner.stream.train[1].classes_in_this_experience
        return EarlierSelf(learner._model, memory, new, strength)

    return made


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_loss_is_that_of_plain_sums(scenario: str, strength: float, teacher: Any) -> None:
    """Old and new classes are two each: at strength 1 half of the loss is the teacher's."""
    earlier = teacher(scenario, strength)
    samples = earlier.model.sight.samples
    numbers = torch.tensor([0, 3, samples.first[1], samples.first[1] + 1, 5])
    tasks = samples.tasks[numbers]
    scores, loss = torch.randn(5, earlier.model.sight.stream.n_classes), torch.tensor(1.3)
    with torch.no_grad():
        answers = earlier.model(numbers)
    divergences = []
    for said, answer, task in zip(scores, answers, tasks, strict=True):
        if scenario == "task" and task == 1:
            continue  # in whose head nothing has been learned
        p, q = (answer[:2] / 2).softmax(0), (said[:2] / 2).softmax(0)  # the classes of the first experience
        divergences.append(sum(a * (a / b).log() for a, b in zip(p, q, strict=True)))
    part = strength / (1 + strength)
    expected = (1 - part) * loss + part * sum(divergences) / len(divergences)
    assert torch.allclose(earlier.added(loss, scores, numbers, tasks), expected, atol=1e-5)


def test_samples_of_new_heads_alone_are_learned_by_their_labels(teacher: Any) -> None:
    earlier = teacher("task")
    numbers = torch.arange(2) + earlier.model.sight.samples.first[1]
    scores = torch.randn(2, 2, requires_grad=True)
    learned = earlier.added(torch.tensor(0.8), scores, numbers, torch.ones(2, dtype=torch.int64))
    learned.backward()
    assert learned.item() == pytest.approx(0.4)
    assert not scores.grad.any()


def test_the_teacher_stays_as_it_was(make_learner: Any) -> None:
    learner = make_learner("replay", options={"distillation": 1.0})
    list(learner.learn(learner.stream.train[0]))
    first = learner.state()["network"]
    made, make = [], learner._make
    learner._make = lambda *args: made.append(make(*args)) or made[-1]
    list(learner.learn(learner.stream.train[1]))
    (replay,) = [plugin for plugin in made[0].plugins if hasattr(plugin, "storage_policy")]
    after = replay._teacher.model.network.state_dict()
    assert all(torch.equal(after[name], x) for name, x in first.items())
    assert any(not torch.equal(learner.state()["network"][name], x) for name, x in first.items())


def test_answers_among_old_classes_change_less(make_learner: Any) -> None:
    moved = {}
    for strength in (0.0, 20.0):
        learner = make_learner("replay", memory_batch_size=2, options={"distillation": strength}, epochs=12)
        (x, _, tasks), *_ = batches(learner.stream.train[0].dataset)
        answers = []
        for experience in learner.stream.train[:2]:
            list(learner.learn(experience))
            with torch.no_grad(), learner._model.evaluated():
                answers.append(learner._model.answer(x, tasks)[:, :2].softmax(1))
        moved[strength] = float((answers[1] - answers[0]).abs().mean())
    assert moved[20.0] < 0.75 * moved[0.0], moved


def test_the_copy_of_the_network_counts_as_memory(make_learner: Any) -> None:
    plain, taught = make_learner("replay"), make_learner("replay", options={"distillation": 1.0})
    for learner in (plain, taught):
        list(learner.learn(learner.stream.train[0]))
    network = sum(x.nbytes for x in plain.network.state_dict().values())
    assert taught.memory_bytes == plain.memory_bytes + network
    assert taught.replay_bytes == plain.replay_bytes
