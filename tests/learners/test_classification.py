from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from run_folders import through_disk
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from snn4.envs.data.datasets import DataConfig, load_data
from snn4.envs.data.samples import Data
from snn4.envs.labelled import Labelled
from snn4.learners.algorithms import LearnerConfig, make_policy
from snn4.learners.classification import ClassificationConfig, ClassificationLearner
from snn4.learners.not_finite import NotFinite
from snn4.policies.acting.behaviour import head_outputs
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sb3 import PolicyConfig


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(DataConfig("digits", augmentation="crop", pad=1))


def make(
    data: Data, steps: int = 640, kind: Any = "spiking", encoder: NetworkConfig | None = None, **config: Any
) -> ClassificationLearner:
    torch.manual_seed(0)
    body = PolicyConfig(kind, (32, 32), T=3, encoder=encoder)
    policy = make_policy(LearnerConfig(), body, Labelled(data.train, data.n_classes), learns=True)
    return ClassificationLearner(ClassificationConfig(**config), policy, data.train, steps)


def weights(learner: ClassificationLearner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in learner.policy.state_dict().items()}


def same(first: ClassificationLearner, second: ClassificationLearner) -> bool:
    return all(torch.equal(x, second.policy.state_dict()[name]) for name, x in first.policy.state_dict().items())


@pytest.mark.parametrize("kind", ["spiking", "ann"])
def test_it_learns_digits(kind: str) -> None:
    """Nearly as well as a linear classifier, within a few epochs."""
    data = load_data(DataConfig("digits"))
    learner = make(data, 16_000, kind, learning_rate=3e-3)
    learner.begin(0)
    reports = list(learner.learn(16_000))
    x, labels = data.test.take(torch.arange(len(data.test)), None)
    with torch.no_grad():
        accuracy = (head_outputs(learner.policy, x).argmax(1) == labels).float().mean().item()
    train, answers = data.train.take(torch.arange(len(data.train)), None)
    linear = LogisticRegression(max_iter=300).fit(train.flatten(1).numpy(), answers.numpy())
    assert accuracy > linear.score(x.flatten(1).numpy(), labels.numpy()) - 0.06
    assert reports[-1].losses["train/loss"] < reports[0].losses["train/loss"]
    assert len(reports[-1].spike_rates) == (2 if kind == "spiking" else 0)
    assert [report.step for report in reports][-1] == learner.step == 16_000


def test_it_is_adam_on_the_cross_entropy(data: Data) -> None:
    learner, plain = make(data, 64, learning_rate=2e-3, batch_size=64), make(data, 64)
    learner.begin(3)
    list(learner.learn(64))
    random = torch.Generator().manual_seed(3)
    order = torch.randperm(len(data.train), generator=random)[:64]
    x, labels = data.train.take(order, torch.randint(2**62, (64,), generator=random))
    adam = torch.optim.Adam(plain.policy.parameters(), lr=2e-3, eps=1e-5)
    F.cross_entropy(head_outputs(plain.policy, x), labels).backward()  # type: ignore[no-untyped-call]
    adam.step()
    for name, value in weights(learner).items():
        torch.testing.assert_close(value, plain.policy.state_dict()[name])


def test_a_newborn_is_woken_and_that_is_noted(data: Data) -> None:
    torch.manual_seed(0)
    silent = PolicyConfig(net_arch=(32, 32), T=3, neuron=NeuronConfig(v_threshold=50.0))
    policy = make_policy(LearnerConfig(), silent, Labelled(data.train, data.n_classes), learns=True)
    learner = ClassificationLearner(ClassificationConfig(), policy, data.train, 640)
    learner.begin(0)
    report = next(learner.learn(640))
    assert min(report.spike_rates) > 0
    assert learner.notes[0].startswith("actor: layer 1 did not spike for the first 64 observations; its weights")


def test_each_image_comes_once_per_epoch(data: Data) -> None:
    learner, positions_taken = make(data, len(data.train), batch_size=50), []
    take = data.train.take

    class Watched:
        def take(self, positions: torch.Tensor, numbers: Any) -> Any:
            positions_taken.extend(positions.tolist())
            return take(positions, numbers)

        def __len__(self) -> int:
            return len(data.train)

    learner.images = Watched()
    learner.begin(0)
    list(learner.learn(len(data.train)))
    assert sorted(positions_taken) == list(range(len(data.train)))


def test_state_is_all_there_is_at_a_beginning(data: Data, tmp_path: Any) -> None:
    whole, resumed = make(data), make(data, learning_rate=1e-3)
    for seed, until in ((1, 320), (2, 640)):
        whole.begin(seed)
        reports = list(whole.learn(until))
        if until == 320:
            state = through_disk(whole.state(), tmp_path)
    resumed.load_state(state)
    assert resumed.step == 320
    resumed.begin(2)
    again = list(resumed.learn(640))
    assert same(whole, resumed)
    assert [(r.step, r.episode_return, r.losses, r.spike_rates) for r in again] == [
        (r.step, r.episode_return, r.losses, r.spike_rates) for r in reports
    ]


def test_it_stops_when_asked(data: Data) -> None:
    learner, answers = make(data, batch_size=16), iter([False, False, True])
    learner.begin(0)
    reports = list(learner.learn(640, lambda: next(answers)))
    assert learner.step == reports[-1].step == 48


@pytest.mark.parametrize("kind", ["spiking", "ann"])
@pytest.mark.parametrize(("batch_size", "steps"), [(1, 5), (32, 65)])
def test_a_norm_of_the_encoder_takes_a_single_image(data: Data, kind: str, batch_size: int, steps: int) -> None:
    """Either all mini-batches hold one image, or the last one does."""
    learner = make(data, steps, kind, NetworkConfig("dense-small", T=2), batch_size=batch_size)
    before = weights(learner)
    learner.begin(0)
    reports = list(learner.learn(steps))
    assert reports[-1].step == steps
    assert not all(torch.equal(value, before[name]) for name, value in weights(learner).items())


def test_what_is_not_finite_is_named(data: Data) -> None:
    learner = make(data, kind="ann", batch_size=16)
    learner.policy.action_net.weight.data[3, 1] = float("nan")  # type: ignore[union-attr, operator, index]
    learner.begin(0)
    with pytest.raises(NotFinite, match=r"^step 16: train/loss is nan"):
        list(learner.learn(640))
    learner = make(data, batch_size=16)
    learner.policy.value_net.weight.data[0, 1] = float("nan")  # type: ignore[union-attr, operator, index]  # no part in the loss
    learner.begin(0)
    with pytest.raises(NotFinite, match=r"^step 16: policy: value_net.weight holds NaN"):
        list(learner.learn(640))


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 0.0), ("learning_rate", np.inf), ("batch_size", 0)])
def test_config_errors(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}: got {value}, allowed is"):
        ClassificationConfig(**{name: value})  # type: ignore[arg-type]
