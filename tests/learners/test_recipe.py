from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn4.learners.recipe import Recipe, averaged_copy, learning_rate, make_optimizer


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def rates(steps: int, **changes: Any) -> list[float]:
    config = Recipe(**changes)
    return [learning_rate(config, step, steps) for step in range(steps)]


# Values


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("batch_size", 0), ("optimizer", "adam"), ("schedule", "step"), ("loss", "mse"),
     ("learning_rate", 0.0), ("learning_rate", math.inf), ("bias_scale", -1.0), ("weight_decay", -1e-3),
     ("mixup", -0.1), ("cutmix", math.nan), ("momentum", 1.0), ("warmup", 1.0), ("label_smoothing", 1.0), ("ema", 1.0),
     ("final", 1.5), ("clip", 0.0), ("T", ((5, 1),)), ("T", ((10, 0),)), ("T", ((11, 1), (-1, 2))), ("T", ())],
)  # fmt: skip
def test_impossible_values(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: got .*allowed"):
        Recipe(**{name: value})


def test_steps_of_each_epoch() -> None:
    config = Recipe(epochs=5, T=((2, 1), (3, 4)))
    assert [config.T_of(epoch) for epoch in range(5)] == [1, 1, 4, 4, 4]
    assert Recipe().T_of(3) is None


# The learning rate


def test_one_cycle_rises_and_falls_linearly() -> None:
    cycle = rates(100, learning_rate=1.0, warmup=0.2, final=0.0)
    assert cycle[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert cycle[20:] == pytest.approx([1 - step / 80 for step in range(80)])


def test_cosine_is_torch_s() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50, 0.3 * 0.1)
    wanted = []
    for _ in range(50):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates(50, learning_rate=0.3, warmup=0.0, final=0.1, schedule="cosine") == pytest.approx(wanted)


def test_constant_stays() -> None:
    assert set(rates(30, learning_rate=0.3, warmup=0.0, schedule="constant")) == {0.3}


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_trainings(schedule: Any, warmup: float, steps: int) -> None:
    short = rates(steps, learning_rate=1.0, schedule=schedule, warmup=warmup, final=0.01)
    assert all(0 < rate <= 1 for rate in short)


# The optimizer


def groups_of(config: Recipe, network: nn.Module) -> list[tuple[set[str], float, float]]:
    names = {id(p): name for name, p in network.named_parameters()}
    groups = make_optimizer(config, network).param_groups
    return [({names[id(p)] for p in group["params"]}, group["scale"], group["weight_decay"]) for group in groups]


def test_vectors_do_not_decay_and_have_a_rate_of_their_own() -> None:
    config = Recipe(weight_decay=0.1, bias_scale=8.0)
    assert groups_of(config, network()) == [
        ({"0.weight", "3.weight"}, 1.0, 0.1),
        ({"0.bias", "1.weight", "1.bias", "3.bias"}, 8.0, 0.0),
    ]


def test_frozen_parameters_are_left_out() -> None:
    net = network()
    net[0].requires_grad_(False)
    assert groups_of(Recipe(), net)[0][0] == {"3.weight"}
    net.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        make_optimizer(Recipe(), net)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_sgd_is_nesterov_s(momentum: float) -> None:
    """v = m v + g; w -= lr (g + m v), with the L2 term in g."""
    w = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    layer, v = nn.Linear(2, 2, bias=False), torch.zeros(2, 2)
    layer.weight.data = w.clone()
    config = Recipe(optimizer="sgd", learning_rate=0.1, momentum=momentum, weight_decay=0.01)
    optimizer = make_optimizer(config, layer)
    for step in range(4):
        gradient = torch.full((2, 2), float(step + 1))
        layer.weight.grad = gradient.clone()
        optimizer.step()
        g = gradient + 0.01 * w
        v = momentum * v + g
        w = w - 0.1 * (g + momentum * v)
    assert torch.allclose(layer.weight, w, atol=1e-6)


# The average


def test_the_average_is_the_recurrence_of_its_definition() -> None:
    net = network()
    average = averaged_copy(Recipe(ema=0.5), net)
    assert average is not None
    wanted: dict[str, Tensor] = {}
    for n in range(8):
        for value in net.state_dict().values():
            value.copy_(torch.randn(value.shape) * 10)  # counters become whole numbers
        average.update_parameters(net)
        decay = min(0.5, (1 + n) / (10 + n)) if n else 0.0
        for name, value in net.state_dict().items():
            mixed = decay * wanted.get(name, torch.zeros(())) + (1 - decay) * value
            wanted[name] = mixed if value.is_floating_point() else value.clone()
    for name, value in average.module.state_dict().items():
        assert torch.allclose(value.double(), wanted[name].double(), atol=1e-5), name


def test_the_average_of_a_network_that_stays_is_that_network() -> None:
    net = network().train()
    average = averaged_copy(Recipe(ema=0.9), net)
    assert average is not None
    for _ in range(300):
        net(torch.randn(8, 2, 4, 4))  # statistics change, weights stay
        average.update_parameters(net)
    x = torch.randn(8, 2, 4, 4)
    assert int(average.module[1].num_batches_tracked) == 300
    assert torch.allclose(average.module.eval()(x), net.eval()(x), atol=0.05)
    assert torch.equal(average.module[0].weight, net[0].weight)


def test_statistics_of_the_average_fit_its_weights() -> None:
    """Where weights move slowly, averaged norms are those that the averaged weights measure."""
    net = network().train()
    average = averaged_copy(Recipe(ema=0.95), net)
    assert average is not None
    data = torch.randn(2000, 2, 4, 4) * 2 + 1
    for step in range(400):
        net[0].weight.data.mul_(1.002)
        net(data[torch.randint(2000, (64,), generator=torch.Generator().manual_seed(step))])
        average.update_parameters(net)
    measured = copy.deepcopy(average.module)
    measured[1].reset_running_stats()
    measured[1].momentum = None  # the plain mean
    measured.train()(data)
    averaged, true = average.module[1], measured[1]
    assert torch.allclose(averaged.running_mean, true.running_mean, atol=0.15 * float(true.running_var.max().sqrt()))
    assert torch.allclose(averaged.running_var, true.running_var, rtol=0.2)


def test_no_average() -> None:
    assert averaged_copy(Recipe(), network()) is None
