from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from snn4.agent.config.file import ConfigError
from snn4.agent.evaluation.shown import InOrder
from snn4.agent.models.other_data import read
from snn4.agent.models.twins import wrong_steps
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.training.config import TrainingConfig
from snn4.agent.training.students import data_and_students, students
from snn4.envs.data.datasets import MissingData, load_data
from snn4.policies.networks.ann import twin
from snn4.policies.networks.whitening import WhiteningConv2d

Digits = Callable[..., TrainingConfig]


def problem_of(config: TrainingConfig) -> str:
    with pytest.raises(ConfigError) as error:
        data_and_students(config)
    (problem,) = error.value.problems
    return problem


def test_students_fit_the_data_and_follow_from_the_seed(digits: Digits) -> None:
    data, learners = data_and_students(digits())
    _, again = data_and_students(digits())
    _, other = data_and_students(digits("seed=1"))
    assert [student.name for student in learners] == [NETWORK, ANN_TWIN]
    config = learners[0].network.config
    assert (config.in_channels, config.image_size, config.n_classes) == (1, (8, 8), 10)
    assert data.n_classes == 10
    for a, b, c in zip(learners, again, other, strict=True):
        first = list(a.network.parameters())
        assert all(torch.equal(p, q) for p, q in zip(first, b.network.parameters(), strict=True))
        assert not torch.equal(first[0], next(c.network.parameters()))
    assert str(learners[1].network) == str(twin(config))
    assert [student.name for student in data_and_students(digits("ann_twin=false"))[1]] == [NETWORK]


def test_a_whitening_stem_has_seen_the_data(digits: Digits) -> None:
    config = digits("network.options={channels: [4, 8], stem: whitening}")
    _, learners = data_and_students(config)
    fresh = students(config, read(config.data, config.name))
    for student, blank in zip(learners, fresh, strict=True):
        (layer,) = (m for m in student.network.modules() if isinstance(m, WhiteningConv2d))
        (other,) = (m for m in blank.network.modules() if isinstance(m, WhiteningConv2d))
        assert not torch.equal(layer.weight, other.weight)
    first = [next(m for m in s.network.modules() if isinstance(m, WhiteningConv2d)).weight for s in learners]
    assert torch.equal(*first)


def test_batches_in_order_can_be_gone_through_again(digits: Digits) -> None:
    data = load_data(digits().data)
    batches = InOrder(data.validation, batch_size=50)
    first, second = list(batches), list(batches)
    assert len(first) == len(batches) == -(-len(data.validation) // 50)
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(first, second, strict=True))
    assert torch.equal(torch.cat([labels for _, labels in first]), data.validation.labels)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batch_size=1000", "training.batch_size: got 1000, allowed are at most the 160"),
        ("network.options={channels: [2, 2, 2, 2, 2]}", "network, for images of digits: image_size: got (8, 8)"),
        ("network.options={kind: mlp}", "kind: got 'mlp'"),
        ("data.limit=3", "limit: got 3"),
        ("training.gradient=rates", "training.gradient: got rates for a"),
        (
            "network={name: vgg-small, T: 2, options: {channels: [4], norm: step}}",
            "training.T: got 8 steps, allowed with a norm of each step are at most network.T, 2",
        ),
    ],
)
def test_what_does_not_fit_is_told(digits: Digits, override: str, message: str) -> None:
    assert message in problem_of(digits(override, "training.T=[[1, 1], [1, 8]]"))


def test_a_batch_for_every_device(digits: Digits) -> None:
    assert "got 100 on each of 2 devices" in problem_of(digits("training.batch_size=100", "fabric.devices=2"))


def test_events_have_no_schedule_of_steps(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    config = digits("training.T=[[1, 1], [1, 2]]")
    assert data_and_students(config)
    data = replace(read(config.data, config.name), is_events=True)
    monkeypatch.setattr("snn4.agent.training.students.read", lambda config, name: data)
    assert "training.T: not allowed for events" in problem_of(config)


def test_events_have_as_many_steps_as_bins(digits: Digits) -> None:
    config = digits("data={name: nmnist, root: /nowhere, bins: 6}", "network.T=4")
    assert list(wrong_steps(config.network, config.data)) == [
        "network.T: got 4, allowed for events is 6, the value of data.bins; set both"
    ]
    assert not list(wrong_steps(replace(config.network, T=6), config.data))
    assert not list(wrong_steps(config.network, replace(config.data, name="mnist")))


def test_data_that_is_not_there(digits: Digits) -> None:
    with pytest.raises(MissingData, match="/nowhere"):
        data_and_students(digits("data={name: mnist, root: /nowhere, download: false}"))
