"""The lessons of a teacher against plain formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from snn4.learners.policy_distillation import (
    PolicyTeacherConfig,
    action_error,
    agreement,
    best_action_loss,
    preferences_divergence,
    returns,
)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_losses_are_the_plain_formulas() -> None:
    pupil, teacher = drawn(5, 3), drawn(3, 5).T
    p, q = (np.exp(x.numpy()) / np.exp(x.numpy()).sum(1, keepdims=True) for x in (teacher, pupil))
    assert preferences_divergence(pupil, teacher).item() == pytest.approx((p * np.log(p / q)).sum() / 5, rel=1e-5)
    best = p.argmax(1)
    assert best_action_loss(pupil, teacher).item() == pytest.approx(-np.log(q[range(5), best]).mean(), rel=1e-5)
    half = torch.tensor([1.0, 2.0, 4.0])
    plain = (((pupil - teacher).numpy() / half.numpy()) ** 2).mean()
    assert action_error(pupil, teacher, half).item() == pytest.approx(plain, rel=1e-5)
    assert preferences_divergence(teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def test_agreement() -> None:
    assert agreement(torch.tensor([[0.0, 1], [2, 1], [3, 4]]), torch.tensor([[0.0, 9], [8, 9], [0, 1]]), None) == (
        pytest.approx(2 / 3)
    )
    half = torch.tensor([2.0])
    assert agreement(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]]), half) == pytest.approx(1 - 1 / 8)
    assert agreement(torch.tensor([[-50.0]]), torch.tensor([[2.0]]), half) == 0


def test_returns_end_with_their_episode() -> None:
    rewards, ends = drawn(6, 2), torch.zeros(6, 2)
    ends[2, 0] = 1
    last, gamma = torch.tensor([10.0, 20.0]), 0.9
    found = returns(rewards, ends, last, gamma)
    r = rewards.numpy()
    assert found[0, 0].item() == pytest.approx(sum(gamma**i * r[i, 0] for i in range(3)), rel=1e-5)
    assert found[3, 0].item() == pytest.approx(sum(gamma**i * r[3 + i, 0] for i in range(3)) + gamma**3 * 10, rel=1e-5)
    assert found[0, 1].item() == pytest.approx(sum(gamma**i * r[i, 1] for i in range(6)) + gamma**6 * 20, rel=1e-5)


def test_the_teacher_acts_less_and_less() -> None:
    linear = PolicyTeacherConfig("x", mix_fraction=0.5)
    assert [linear.share(progress) for progress in (0, 0.25, 0.5, 0.99)] == [1, 0.5, 0, 0]
    exponential = PolicyTeacherConfig("x", mix="exponential")
    assert exponential.share(0) == 1
    assert exponential.share(0.25) == pytest.approx(0.1)
    assert exponential.share(0.6) == 0
    assert {PolicyTeacherConfig("x", mix="teacher").share(progress) for progress in (0, 0.9)} == {1}
    assert {PolicyTeacherConfig("x", mix="pupil").share(progress) for progress in (0, 0.9)} == {0}


def test_lessons_take_a_tenth_unless_told_otherwise() -> None:
    assert [PolicyTeacherConfig("x").length(steps) for steps in (1000, 3)] == [100, 1]
    assert PolicyTeacherConfig("x", steps=70).length(1000) == 70


def test_the_loss_follows_the_actions() -> None:
    box, discrete = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)
    assert [PolicyTeacherConfig("x").loss_for(space) for space in (box, discrete)] == ["mse", "kl"]
    assert PolicyTeacherConfig("x", loss="nll").loss_for(box) == "nll"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": ""}, "source: got ''"), ({"mix": "log"}, "mix: got 'log', allowed are linear"),
        ({"loss": "l1"}, "loss: got 'l1', allowed are kl, nll, mse"), ({"steps": 0}, "steps: got 0"),
        ({"batch_size": 99, "buffer": 98}, "batch_size: got 99, allowed is up to the buffer, 98"),
        ({"mix_fraction": 0.0}, "mix_fraction: got 0.0, allowed is above 0"), ({"value": -1.0}, "value: got -1.0"),
        ({"temperature": 0.0}, "temperature: got 0.0"), ({"learning_rate": math.nan}, "learning_rate: got nan"),
    ],
)  # fmt: skip
def test_wrong_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PolicyTeacherConfig(**{"source": "x", **change})
