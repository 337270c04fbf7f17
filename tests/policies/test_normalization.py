from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from snn4.policies.networks.ann import twin
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.normalization import BatchNorm1d, BatchNorm2d, StepNorm2d, threshold_norm

T = 3
B = 4
C = 2


def currents(seed: int = 0) -> torch.Tensor:
    x = torch.randn(T, B, C, 5, 5, generator=torch.Generator().manual_seed(seed))
    return x * torch.arange(1.0, T + 1).reshape(T, 1, 1, 1, 1) + seed  # another scale at every step


def test_threshold_norm_scales_currents_to_the_threshold() -> None:
    x, norm = currents(), threshold_norm(C, v_threshold=0.6)
    y = norm(x.flatten(0, 1)).unflatten(0, (T, B))
    mean, var = x.mean((0, 1, 3, 4), keepdim=True), x.var((0, 1, 3, 4), correction=0, keepdim=True)
    torch.testing.assert_close(y, 0.6 * (x - mean) / torch.sqrt(var + norm.eps))
    assert y.std().item() == pytest.approx(0.6, rel=1e-2)


@pytest.mark.parametrize("affine", ["shared", "step"])
def test_step_norm_is_a_batch_norm_at_each_step(affine: Any) -> None:
    norm, plain = StepNorm2d(C, T, affine), [nn.BatchNorm2d(C) for _ in range(T)]
    with torch.no_grad():
        norm.weight.copy_(torch.rand(norm.weight.shape))
        norm.bias.copy_(torch.rand(norm.bias.shape))
        for t, batch_norm in enumerate(plain):
            batch_norm.weight.copy_(norm.weight.expand(T, C)[t])
            batch_norm.bias.copy_(norm.bias.expand(T, C)[t])
    for training in (True, True, False):
        norm.train(training)
        x = currents(seed=int(training)).requires_grad_()
        y, last = norm(x)
        y.square().sum().backward()
        gradient = x.grad
        x.grad = None
        expected = torch.stack([batch_norm.train(training)(step) for batch_norm, step in zip(plain, x, strict=True)])
        expected.square().sum().backward()
        torch.testing.assert_close([y, gradient], [expected, x.grad])
        assert last == T
    torch.testing.assert_close(norm.running_mean, torch.stack([batch_norm.running_mean for batch_norm in plain]))
    torch.testing.assert_close(norm.running_var, torch.stack([batch_norm.running_var for batch_norm in plain]))
    assert norm.running_var[2, 0] > 2 * norm.running_var[0, 0]


def test_steps_continue_from_the_state() -> None:
    whole, parts = StepNorm2d(C, T), StepNorm2d(C, T)
    x = currents()
    y, _ = whole(x)
    first, state = parts(x[:1])
    rest, state = parts(x[1:], state)
    torch.testing.assert_close(torch.cat([first, rest]), y)
    torch.testing.assert_close(list(parts.buffers()), list(whole.buffers()))
    with pytest.raises(ValueError, match=r"^steps: got 1 after 3, allowed is 3 in all"):
        parts(x[:1], state)


def test_a_constant_step_is_normalised_at_every_step() -> None:
    constant, expanded = StepNorm2d(C, T), StepNorm2d(C, T)
    x = currents()[:1]
    torch.testing.assert_close(constant(x, None, T), expanded(x.expand(T, -1, -1, -1, -1)))
    torch.testing.assert_close(list(constant.buffers()), list(expanded.buffers()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "channels: got 0, allowed is a whole number >= 1"),
        ({"T": 0}, "T: got 0, allowed is a whole number >= 1"),
        ({"affine": "none"}, "affine: got 'none', allowed are shared, step"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StepNorm2d(**{"channels": C, "T": T, **arguments})


def test_an_input_of_other_channels_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^x: got shape \(1, 4, 3, 5, 5\), allowed is \(T, B, 2, H, W\)"):
        StepNorm2d(C, T)(torch.zeros(1, B, 3, 5, 5))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    ("snn4_norm", "torch_norm", "shape"),
    [(BatchNorm1d, nn.BatchNorm1d, (C,)), (BatchNorm2d, nn.BatchNorm2d, (C, 1, 1))],
)
def test_running_statistics_normalize_a_single_sample(
    snn4_norm: Any, torch_norm: Any, shape: tuple[int, ...], steps: int
) -> None:
    norm, plain = snn4_norm(C), torch_norm(C)
    batch, sample = torch.randn(8 * steps, *shape) + 1, torch.randn(steps, *shape)
    torch.testing.assert_close(norm.train()(batch, steps), plain.train()(batch))
    torch.testing.assert_close(list(norm.buffers()), list(plain.buffers()))
    x, z = sample.clone().requires_grad_(), sample.clone().requires_grad_()
    y, expected = norm(x, steps), plain.eval()(z)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(list(norm.buffers()), list(plain.buffers()))
    norm(batch, steps)  # changes the statistics before the backward pass
    (y.square().sum() + expected.square().sum()).backward()
    torch.testing.assert_close(x.grad, z.grad)


VGG = {"channels": (4, 4), "pools": (1, 1)}


@pytest.mark.parametrize("kind", ["spiking", "ann"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dense-small", {}), ("resnet-20", {"channels": (4,), "blocks": (1,)}),
        *(("vgg-small", {**VGG, "norm": norm}) for norm in ("batch", "threshold", "step")),
    ],
)  # fmt: skip
def test_training_on_a_single_value_per_channel_is_evaluation(kind: str, name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = NetworkConfig(name, T=3, options=options).resolve(1, (1, 1), 5)
    net = make_network(config) if kind == "spiking" else twin(config)
    net(torch.randn(8, 1, 1, 1))
    known, x = {key: value.clone() for key, value in net.state_dict().items()}, torch.randn(1, 1, 1, 1)
    learning = net.train()(x)
    torch.testing.assert_close(learning, net.eval()(x))
    torch.testing.assert_close(dict(net.state_dict()), known)
