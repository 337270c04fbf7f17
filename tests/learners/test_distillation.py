"""Losses against their formulas, written down once more."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from snn4.learners.distillation import (
    Distillation,
    attention_difference,
    blurred,
    divergence,
    over_time,
    probabilities,
)

DRAW = torch.Generator().manual_seed(0)


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=DRAW, dtype=torch.float64)


def softmax(scores: list[float], temperature: float) -> list[float]:
    powers = [math.exp(score / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


def kullback_leibler(wanted: list[float], answers: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(wanted, answers, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_answers_of_several_teachers(temperature: float) -> None:
    logits, scores = draw(3, 5, 4), draw(5, 4)
    expected = 0.0
    for sample in range(5):
        each = [softmax(logits[teacher, sample].tolist(), temperature) for teacher in range(3)]
        mean = [sum(column) / 3 for column in zip(*each, strict=True)]
        expected += kullback_leibler(mean, softmax(scores[sample].tolist(), temperature)) * temperature**2 / 5
    found = divergence(scores, probabilities(logits, temperature), temperature)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_every_step_may_have_its_loss() -> None:
    scores, wanted = draw(3, 5, 4), probabilities(draw(1, 5, 4), 2.0)
    each = torch.stack([divergence(step, wanted, 2.0) for step in scores])
    torch.testing.assert_close(divergence(scores, wanted, 2.0), each.mean())


def test_a_teacher_that_is_sure_and_one_that_agrees() -> None:
    scores = draw(5, 4)
    sure = torch.zeros(5, 4, dtype=torch.float64)
    sure[:, 1] = 1
    torch.testing.assert_close(divergence(scores, sure, 1.0), -scores.log_softmax(1)[:, 1].mean())
    assert divergence(scores, probabilities(scores[None], 3.0), 3.0).item() == pytest.approx(0, abs=1e-12)


def test_gradients_hardly_depend_on_a_high_temperature() -> None:
    """Hinton et al. 2015: the factor T^2 keeps them as large as those of the labels."""
    sizes = []
    for temperature in (50.0, 100.0):
        scores = torch.ones(5, 4, dtype=torch.float64, requires_grad=True)
        logits = torch.arange(20.0, dtype=torch.float64).view(1, 5, 4) % 7
        divergence(scores, probabilities(logits, temperature), temperature).backward()
        assert scores.grad is not None
        sizes.append(scores.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


@pytest.mark.parametrize("steps_from", ["next", "mean"])
def test_steps_teach_each_other(steps_from: Any) -> None:
    scores = draw(4, 5, 3).requires_grad_()
    expected = []
    for step in range(4):
        for sample in range(5):
            if steps_from == "next" and step == 3:
                continue
            teaching = scores[step + 1] if steps_from == "next" else scores.mean(0)
            wanted = softmax(teaching[sample].tolist(), 2.0)
            expected.append(kullback_leibler(wanted, softmax(scores[step, sample].tolist(), 2.0)) * 4)
    found = over_time(scores, 2.0, steps_from)
    assert found.item() == pytest.approx(sum(expected) / len(expected), rel=1e-9)
    found.backward()
    assert scores.grad is not None
    assert (scores.grad[-1].abs().sum() == 0).item() == (steps_from == "next"), (
        "the last step teaches, and learns nothing"
    )


@pytest.mark.parametrize("steps_from", ["next", "mean"])
def test_one_step_has_nobody_to_learn_from(steps_from: Any) -> None:
    assert over_time(draw(1, 5, 3), 2.0, steps_from).item() == pytest.approx(0, abs=1e-12)


def test_scales_of_attention_do_not_matter() -> None:
    a, b = draw(3, 4, 4).abs(), draw(3, 4, 4).abs()
    expected = 0.0
    for sample in range(3):
        left, right = (maps[sample].flatten().tolist() for maps in (a, b))
        sizes = [math.sqrt(sum(value**2 for value in values)) for values in (left, right)]
        expected += sum((p / sizes[0] - q / sizes[1]) ** 2 for p, q in zip(left, right, strict=True)) / 3
    assert attention_difference(a, b).item() == pytest.approx(expected, rel=1e-9)
    assert attention_difference(a, 7 * a).item() == pytest.approx(0, abs=1e-12)
    silent = torch.zeros_like(a).requires_grad_()
    attention_difference(silent, b).backward()
    assert silent.grad is not None
    assert torch.isfinite(silent.grad).all()


def test_blanked_places_are_the_same_in_all_channels() -> None:
    torch.manual_seed(0)
    x = torch.ones(8, 5, 16, 16)
    y = blurred(x, 0.25)
    assert set(y.unique().tolist()) == {0.0, 1.0}
    assert (y.amin(1) == y.amax(1)).all()
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)  # 2,048 places: 5 standard deviations
    assert torch.equal(blurred(x, 0.0), x)
    assert blurred(torch.ones(4, 1000), 0.5).unique().tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"logits": -1.0}, "logits: got -1.0, allowed is a finite number >= 0"), ({"features": math.inf}, "features: got"),
     ({"temperature": 0.0}, "temperature: got 0.0, allowed is a finite number > 0"),
     ({"blur": 1.0}, "blur: got 1.0, allowed is a number from 0 to below 1"),
     ({"steps_from": "last"}, "steps_from: got 'last', allowed are next, mean"),
     ({"matched": "spikes"}, "matched: got 'spikes', allowed are rates, currents"),
     ({"labels": 0.0, "logits": 0.0}, "labels: got 0, and 0 for every other loss")],
)  # fmt: skip
def test_impossible_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distillation(**changes)
