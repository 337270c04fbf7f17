"""Accuracy over steps and early exit, against plain loops and scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, top_k_accuracy_score
from torch import Tensor, nn

from snn4.agent.evaluation.accuracy import THRESHOLDS, Recognition, Recognizer, recognize, select_exit
from snn4.policies.modes import evaluating
from snn4.policies.networks.ann import twin
from snn4.policies.networks.classifier import SpikingClassifier
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import NeuronConfig

N, CLASSES = 50, 7


def make(**fields: Any) -> SpikingConvNet:
    torch.manual_seed(0)
    neuron = NeuronConfig(v_threshold=0.2)
    defaults: dict[str, Any] = {
        "channels": (6, 8), "in_channels": 2, "n_classes": CLASSES, "T": 5, "neuron": neuron, "head": "flatten",
        "image_size": (8, 8),
    }  # fmt: skip
    net = SpikingConvNet(ConvNetConfig(**{**defaults, **fields}))
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Linear):
                layer.weight *= 8  # confidences of all sizes
    return net


def batches(events: int | None = None, size: int = 16) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    shape = (N, 2, 8, 8) if events is None else (events, N, 2, 8, 8)
    x, labels = torch.randn(shape, generator=draw), torch.randint(CLASSES - 1, (N,), generator=draw)
    return list(zip(x.split(size, dim=-4), labels.split(size), strict=True))


def scores_by_step(net: SpikingClassifier, data: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Mean scores (N, classes) after 1 … T steps, each by a run of its own."""
    net.eval()
    with torch.no_grad():
        return [torch.cat([net(x, steps=t) for x, _ in data]) for t in range(1, net.config.T + 1)]


@pytest.fixture(scope="module")
def known() -> tuple[Recognition, list[Tensor], Tensor]:
    net, data = make(), batches()
    return recognize(net, data, CLASSES), scores_by_step(net, data), torch.cat([labels for _, labels in data])


def test_accuracy_after_each_step_is_scikit_learns_of_a_run_of_that_length(known: Any) -> None:
    recognition, scores, labels = known
    classes = list(range(CLASSES))
    for t, given in enumerate(scores):
        probabilities = given.softmax(-1).numpy().astype(float)
        assert recognition.top1[t] == pytest.approx(accuracy_score(labels, given.argmax(-1)))
        assert recognition.top5[t] == pytest.approx(top_k_accuracy_score(labels, given, k=5, labels=classes))
        loss = log_loss(labels, probabilities / probabilities.sum(1, keepdims=True), labels=classes)
        assert recognition.cross_entropy[t] == pytest.approx(loss, rel=1e-4)
    assert len(set(recognition.top1)) > 1  # the steps differ, or nothing was tested


def test_confusion_is_scikit_learns_and_an_absent_class_has_no_accuracy(known: Any) -> None:
    recognition, scores, labels = known
    expected = confusion_matrix(labels, scores[-1].argmax(-1), labels=range(CLASSES))
    assert np.array_equal(recognition.confusion.numpy(), expected)
    *present, absent = recognition.class_accuracy
    assert absent is None
    assert present == pytest.approx([expected[c, c] / expected[c].sum() for c in range(CLASSES - 1)])


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.0, None])
def test_early_exit_is_a_loop_over_samples(known: Any, threshold: float | None) -> None:
    recognition, scores, labels = known
    right, steps = 0, 0
    for number, label in enumerate(labels.tolist()):
        for t, given in enumerate(scores):
            confidence = given[number].softmax(-1).max().item()
            if (threshold is not None and confidence >= threshold) or t + 1 == len(scores):
                right += given[number].argmax().item() == label
                steps += t + 1
                break
    point = recognition.exit(threshold)
    assert (point.accuracy, point.mean_steps) == pytest.approx((right / N, steps / N))


def test_the_curve_goes_from_the_first_step_to_all_of_them(known: Any) -> None:
    recognition, _, _ = known
    curve = recognition.exit_curve()
    steps = [point.mean_steps for point in curve]
    assert (steps[0], steps[-1]) == (1.0, 5.0)
    assert steps == sorted(steps)
    assert len(set(steps)) > 5
    assert (curve[0].accuracy, curve[-1].accuracy) == pytest.approx((recognition.top1[0], recognition.top1[-1]))


@pytest.mark.parametrize("tolerance", [0.0, 0.05, 1.0])
def test_selection_takes_the_fewest_steps_within_tolerance(known: Any, tolerance: float) -> None:
    recognition, _, _ = known
    chosen = select_exit(recognition, tolerance)
    assert chosen.accuracy >= recognition.top1[-1] - tolerance - 1e-6
    for point in recognition.exit_curve():
        assert point.mean_steps >= chosen.mean_steps or point.accuracy < recognition.top1[-1] - tolerance
    assert chosen == recognition.exit(chosen.threshold)


def test_selection_never_stops_early_where_every_step_counts() -> None:
    """Confidently wrong at first, right at last."""
    ranks = torch.tensor([[1, 1], [0, 0]])
    recognition = Recognition(2, torch.zeros(2, dtype=torch.long), ranks, ranks, torch.ones(2, 2), torch.zeros(2, 2))
    assert select_exit(recognition).threshold is None
    assert select_exit(recognition, 1.0).mean_steps == 1
    for tolerance in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="tolerance"):
            select_exit(recognition, tolerance)


def test_thresholds_rise() -> None:
    numbers = [threshold for threshold in THRESHOLDS if threshold is not None]
    assert numbers == sorted(numbers)
    assert THRESHOLDS[-1] is None


def test_equal_scores_rank_by_number() -> None:
    net = make()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    recognition = recognize(net, batches(), CLASSES)
    assert torch.equal(recognition.ranks[-1], recognition.labels)
    assert torch.equal(recognition.predictions, torch.zeros(5, N, dtype=torch.long))
    assert recognition.top1[-1] == pytest.approx((recognition.labels == 0).double().mean().item())


def same_ranks(short: Any, whole: Any) -> bool:
    """Of all samples but one: in batches of another size a sum may round to another spike."""
    return bool((short.ranks != whole.ranks[: short.steps]).any(0).sum() <= 1)


def test_steps_and_batches_change_nothing_else(known: Any) -> None:
    recognition, _, _ = known
    short = recognize(make(), iter(batches(size=7)), CLASSES, steps=3)
    assert short.steps == 3
    assert same_ranks(short, recognition)
    assert torch.allclose(short.confidences, recognition.confidences[:3], atol=1e-5)


def test_a_flip_is_the_mean_with_the_mirror_image() -> None:
    net, data = make(), batches()
    scores = scores_by_step(net, data)
    mirrored = scores_by_step(net, [(x.flip(-1), labels) for x, labels in data])
    flipped = recognize(net, data, CLASSES, flip=True)
    for t, (plain, mirror) in enumerate(zip(scores, mirrored, strict=True)):
        assert torch.equal(flipped.predictions[t], ((plain + mirror) / 2).argmax(-1))
    assert flipped.flip
    assert not torch.allclose(flipped.confidences, recognize(net, data, CLASSES).confidences)


def test_events_have_their_own_steps_and_an_ann_sees_their_mean() -> None:
    net, data = make(), batches(events=3)
    whole = recognize(net, data, CLASSES)
    assert whole.steps == 3
    assert same_ranks(recognize(net, data, CLASSES, steps=2), whole)
    with pytest.raises(ValueError, match=r"steps: got 4, allowed is 1 to 3"):
        recognize(net, data, CLASSES, steps=4)
    ann = twin(net.config).eval()
    seen = recognize(ann, data, CLASSES, steps=2)
    assert seen.steps == 1
    with torch.no_grad():
        expected = torch.cat([ann(x.mean(0)).argmax(-1) for x, _ in data])
    assert torch.equal(seen.predictions[0], expected)


def test_runs_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        half = recognize(make(), batches(), CLASSES)
    assert half.confidences.dtype == torch.float32
    assert (half.predictions[-1] == recognize(make(), batches(), CLASSES).predictions[-1]).double().mean() > 0.8


def test_modes_and_statistics_stay() -> None:
    net = make().train()
    frozen = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    recognize(net, batches(), CLASSES)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [module for module in net.modules() if not module.training] == [frozen]


def test_modes_come_back_after_an_error() -> None:
    net = make().train()
    with pytest.raises(ValueError, match="labels"):
        recognize(net, [(x, labels - 9) for x, labels in batches()], CLASSES)
    assert all(module.training for module in net.modules())
    assert torch.is_grad_enabled()
    with evaluating(net):
        assert not any(module.training for module in net.modules())
        assert not torch.is_grad_enabled()


def test_a_recognizer_gives_scores_of_each_step() -> None:
    net, (x, _) = make().eval(), batches()[0]
    with torch.no_grad():
        assert torch.equal(Recognizer(net)(x)[0], net.run(x)[0])
        assert Recognizer(twin(net.config).eval())(x)[0].shape == (1, len(x), CLASSES)


def with_labels(change: Any) -> Iterator[tuple[Tensor, Tensor]]:
    first, second, *_ = batches()
    yield first
    yield second[0], change(second[1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "batches: got no samples"),
        (with_labels(lambda labels: labels + CLASSES), r"labels: got \d+ in batch 1, allowed is 0 to 6"),
        (with_labels(lambda labels: labels - 1), r"labels: got -1 in batch 1"),
        (with_labels(lambda labels: labels[:3]), r"labels: got shape \(3,\), torch.int64 in batch 1"),
        (with_labels(lambda labels: labels.float()), r"torch.float32 in batch 1"),
        ([(x * torch.nan, labels) for x, labels in batches()], "x: got NaN or infinity in batch 0"),
        ([*batches(events=3), *batches(events=2)], r"x: got 2 steps in batch 4, allowed is 3"),
    ],
)
def test_data_that_do_not_fit_are_named(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recognize(make(), data, CLASSES)


@pytest.mark.parametrize("layer", [0, -1], ids=["before neurons", "after them"])
def test_nan_in_weights_is_named(layer: int) -> None:
    net = make()
    synapses = [module for module in net.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        synapses[layer].weight.view(-1)[0] = torch.nan
    with pytest.raises(ValueError, match=r"network\.\d+\.weight: got NaN"):
        recognize(net, batches(), CLASSES)


def test_scores_that_overflow_are_named() -> None:
    net = make()
    with torch.no_grad():
        list(net.parameters())[-1].fill_(3e38)
        list(net.parameters())[-2].fill_(3e38)
    with pytest.raises(ValueError, match=r"scores: got NaN or infinity in batch 0"):
        recognize(net, batches(), CLASSES)


def test_numbers_of_classes() -> None:
    data = [(x, labels.clamp(max=4)) for x, labels in batches()]
    assert recognize(make(n_classes=5), data, 5).top5 is None
    with pytest.raises(ValueError, match=r"scores: got 7 classes in batch 0, allowed is n_classes \(9\)"):
        recognize(make(), batches(), 9)
