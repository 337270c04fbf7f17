from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from run_folders import through_disk
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.learners.mixing import mixed
from snn4.learners.not_finite import NotFinite
from snn4.learners.recipe import Recipe, learning_rate
from snn4.learners.supervised import Fit, Network, SupervisedLearner
from snn4.policies.networks.ann import twin
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet

B, N_BATCHES, CLASSES = 8, 5, 3
NET = ConvNetConfig(channels=(4, 8), in_channels=1, n_classes=CLASSES, image_size=(8, 8), T=2)


def batch(epoch: int, number: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(100 * epoch + number)
    labels = torch.randint(CLASSES, (B,), generator=draw)
    return torch.randn(B, 1, 8, 8, generator=draw) + labels.view(-1, 1, 1, 1), labels


def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    return (batch(epoch, number) for number in range(first, N_BATCHES))


def doubles(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    return ((x.double(), labels) for x, labels in batches(epoch, first))


def events(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    return ((torch.stack([x, -x, x * 2]), labels) for x, labels in batches(epoch, first))  # (T, B, C, H, W)


def network(config: ConvNetConfig = NET) -> SpikingConvNet:
    torch.manual_seed(0)
    return SpikingConvNet(config)


def learner(made: Network | None = None, source: Any = batches, precision: Any = "32-true", **changes: Any) -> Any:
    fabric = Fabric(accelerator="cpu", precision=precision)
    fabric.launch()
    config = Recipe(**{"epochs": 2, "batch_size": B, "learning_rate": 0.01, **changes})
    return SupervisedLearner(config, made or network(), source, N_BATCHES, 7, fabric)


def to_the_end(one: SupervisedLearner, every: float = 1e9) -> list[Fit]:
    return [fit for _ in range(one.config.epochs) for fit in one.learn(every=every)]


def weights(one: SupervisedLearner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in one.learned.state_dict().items()}


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((value.double() - other[name].double()).abs().max().item() for name, value in one.items())


# One step, in a second way


def cross_entropy(scores: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Of scores (B, classes), by its definition."""
    wanted = targets if targets.dim() == 2 else F.one_hot(targets, CLASSES).float()
    wanted = (1 - smoothing) * wanted + smoothing / CLASSES
    return -(wanted * scores.log_softmax(1)).sum(1).mean()


def plain_loop(
    made: SpikingConvNet, config: Recipe, source: Any = batches, precision: str = "32-true"
) -> dict[str, Tensor]:
    """The same training with nothing but torch, in the usual memory format."""
    weights = [p for p in made.parameters() if p.dim() > 1]
    others = [p for p in made.parameters() if p.dim() == 1]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(groups, 1.0, config.momentum, nesterov=True, fused=False, foreach=False)
        if config.optimizer == "sgd"
        else torch.optim.AdamW(groups, 1.0, (config.momentum, 0.999), fused=False, foreach=False)
    )
    made.train()
    for step in range(config.epochs * N_BATCHES):
        x, targets = next(source(*divmod(step, N_BATCHES)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step, config.epochs * N_BATCHES)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            scores = made.run(x)[0].float()
        by_step = list(scores) if config.loss == "tet" else [scores.mean(0)]
        loss = torch.stack([cross_entropy(s, targets, config.label_smoothing) for s in by_step]).mean()
        optimizer.zero_grad()
        loss.backward()
        if config.clip is not None:
            norm = torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None]).norm()
            for p in made.parameters():
                assert p.grad is not None
                p.grad *= min(1.0, config.clip / (float(norm) + 1e-6))
        optimizer.step()
    return made.state_dict()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "recipe",
    [{}, {"optimizer": "sgd"}, {"loss": "tet"}, {"loss": "tet", "label_smoothing": 0.2}, {"label_smoothing": 0.1},
     {"clip": 0.05}],
    ids=str,
)  # fmt: skip
def test_a_training_in_plain_torch(recipe: dict[str, Any], channels_last: bool) -> None:
    # In float64 no spike depends on rounding.
    one = learner(network().double(), doubles, channels_last=channels_last, **recipe)
    to_the_end(one)
    wanted = plain_loop(network().double(), one.config, doubles)
    assert largest_difference(weights(one), wanted) < 1e-4


def test_clipping_changes_something() -> None:
    one, other = learner(clip=0.05, optimizer="sgd"), learner(optimizer="sgd")
    to_the_end(one)
    to_the_end(other)
    assert largest_difference(weights(one), weights(other)) > 1e-4


def test_bf16_is_autocast_around_the_network_alone() -> None:
    one = learner(precision="bf16-mixed", channels_last=False)
    fits = to_the_end(one)
    wanted = plain_loop(network(), one.config, precision="bf16-mixed")
    assert all(value.dtype == torch.float32 for value in weights(one).values() if value.is_floating_point())
    assert largest_difference(weights(one), wanted) < 1e-4
    full = learner()
    assert fits[-1].loss == pytest.approx(to_the_end(full)[-1].loss, abs=0.1)
    assert largest_difference(weights(one), weights(full)) > 0


def test_channels_last_is_what_the_network_runs_in() -> None:
    one = learner(channels_last=True)
    seen: list[bool] = []
    one.module.network[0].register_forward_pre_hook(
        lambda _, x: seen.append(x[0].is_contiguous(memory_format=torch.channels_last))
    )
    next(one.learn())
    assert all(seen)
    assert one.module.network[4].weight.is_contiguous(memory_format=torch.channels_last)


def test_mixed_batches_are_learned_with_mixed_targets() -> None:
    one = learner(mixup=0.5, channels_last=False, optimizer="sgd", momentum=0.0, weight_decay=0.0)
    made, x, labels = network().train(), *batch(0, 0)
    torch.manual_seed(one._seed_of_step())
    x, targets = mixed(one.config, x, labels, CLASSES)
    cross_entropy(made.run(x)[0].mean(0), targets, 0.0).backward()
    rate = learning_rate(one.config, 0, one.steps)
    wanted = [p.detach() - rate * p.grad for p in made.parameters() if p.grad is not None]
    next(one.learn(stop=lambda: True))
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(one.module.parameters(), wanted, strict=True))


# What a network is shown


@pytest.mark.parametrize("T", [None, ((1, 1), (1, 3))])
def test_inner_steps_of_each_epoch(T: Any) -> None:
    one, seen = learner(T=T), []
    one.module.network[2].register_forward_hook(lambda layer, x, y: seen.append(len(y[0])))
    fits = to_the_end(one)
    assert seen == [2] * 2 * N_BATCHES if T is None else seen == [1] * N_BATCHES + [3] * N_BATCHES
    assert [fit.T for fit in fits] == ([None, None] if T is None else [1, 3])


def test_events_bring_their_own_steps() -> None:
    one, seen = learner(source=events), []
    one.module.network[2].register_forward_hook(lambda layer, x, y: seen.append(len(y[0])))
    assert {fit.T for fit in to_the_end(one)} == {None}
    assert set(seen) == {3}


def test_an_ann_sees_the_mean_of_events() -> None:
    means = learner(twin(NET), lambda *at: ((x.mean(0), labels) for x, labels in events(*at)))
    made = copy.deepcopy(means.module)
    one = learner(made, events)
    assert to_the_end(one)[-1].loss == to_the_end(means)[-1].loss
    assert largest_difference(weights(one), weights(means)) == 0


# Reports


def test_reports_are_means_since_the_last_one() -> None:
    whole, pieces = to_the_end(learner()), to_the_end(learner(), every=0.0)
    assert [fit.images for fit in pieces] == [B * (number + 1) for number in range(2 * N_BATCHES)]
    assert [fit.epoch for fit in pieces] == [0] * (N_BATCHES - 1) + [1] * N_BATCHES + [2]
    assert [fit.images for fit in whole] == [B * N_BATCHES, 2 * B * N_BATCHES]
    for fit, part in zip(whole, (pieces[:N_BATCHES], pieces[N_BATCHES:]), strict=True):
        assert fit.loss == pytest.approx(sum(piece.loss for piece in part) / N_BATCHES)
        assert fit.accuracy == pytest.approx(sum(piece.accuracy for piece in part) / N_BATCHES)
    one = learner()
    rates = [learning_rate(one.config, step, one.steps) for step in range(one.steps)]
    assert [fit.learning_rate for fit in pieces] == pytest.approx(rates)


def test_it_learns() -> None:
    fits = to_the_end(learner(epochs=15, learning_rate=0.02, ema=0.9))
    assert fits[-1].loss < 0.7 * fits[0].loss
    assert fits[-1].accuracy > fits[0].accuracy + 0.2


# Interruptions


@pytest.mark.parametrize(
    "recipe",
    [{"ema": 0.9, "mixup": 0.4, "cutmix": 1.0}, {"optimizer": "sgd", "loss": "tet", "T": ((1, 1), (1, 3))},
     {"channels_last": False, "clip": 0.5}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("at", [1, 3, N_BATCHES, 2 * N_BATCHES - 1])
def test_resumed_anywhere_is_never_interrupted(recipe: dict[str, Any], at: int, tmp_path: Path) -> None:
    whole, broken = learner(**recipe), learner(**recipe)
    to_the_end(whole)
    while broken.step < at:
        list(broken.learn(stop=lambda: broken.step >= at))
    assert broken.stopped
    state = through_disk(broken.state(), tmp_path)
    torch.manual_seed(99)
    nn.Linear(3, 3)  # the resumed process has other random numbers
    resumed = learner(**recipe)
    resumed.load_state(state)
    assert (resumed.step, resumed.images) == (at, at * B)
    while resumed.step < resumed.steps:
        list(resumed.learn())
    assert largest_difference(weights(resumed), weights(whole)) == 0
    assert resumed.images == whole.images


def test_stopping_tells_what_was_learned() -> None:
    one, asked = learner(), itertools.count(1)
    (fit,) = one.learn(stop=lambda: next(asked) == 3)
    assert (fit.images, fit.epoch, one.step, one.stopped) == (3 * B, 0, 3, True)
    list(one.learn())
    assert not one.stopped
    assert one.epoch == 1


def test_dropout_follows_from_the_step() -> None:
    """Global random numbers that others use up change nothing."""
    made = network()
    made.network.insert(len(made.network) - 1, nn.Dropout(0.5))
    one, other = learner(copy.deepcopy(made)), learner(copy.deepcopy(made))
    to_the_end(one)
    for _ in other.learn(every=0.0):
        torch.randn(5)
    list(other.learn())
    assert largest_difference(weights(one), weights(other)) == 0


# What cannot go on


def test_a_loss_that_is_not_finite() -> None:
    one = learner(twin(NET), lambda *at: ((x * float("nan"), labels) for x, labels in batches(*at)))
    with pytest.raises(NotFinite, match=r"epoch 0, batch 0: the loss is nan"):
        list(one.learn(every=0.0))


def test_a_weight_that_is_not_finite_and_silent() -> None:
    one = learner()
    with torch.no_grad():
        one.module.network[0].weight[0] = torch.nan
    with pytest.raises(NotFinite, match=r"epoch 0, batch 4: network.0.weight holds NaN or infinity"):
        list(one.learn())


def test_less_than_one_batch() -> None:
    fabric = Fabric(accelerator="cpu")
    fabric.launch()
    with pytest.raises(ValueError, match="batch_size: got more"):
        SupervisedLearner(Recipe(), network(), batches, 0, 0, fabric)
