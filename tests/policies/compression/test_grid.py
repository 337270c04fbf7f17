"""Grids of weights: their levels, their scales, and learning on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn4.policies.compression.learning import Rounding, charge_neurons, neuron_steps, quantize, synapses
from snn4.policies.compression.quantization import CLIPS, Grid
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import NeuronConfig

ALL = [Grid(bits, scale, power) for bits in (8, 6, 4, 2) for scale in ("channel", "layer") for power in (False, True)]  # type: ignore[arg-type]


def drawn() -> Tensor:
    return torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 7).view(6, 1, 1, 1)


@pytest.mark.parametrize("grid", ALL, ids=str)
def test_weights_are_whole_multiples_of_their_scales(grid: Grid) -> None:
    weight = drawn()
    scales, rounded = grid.scales(weight), grid.rounded(weight)
    assert len(scales) == (6 if grid.scale == "channel" else 1)
    levels = rounded / scales.view(-1, 1, 1, 1)
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert levels.abs().max().round() <= 2 ** (grid.bits - 1) - 1
    assert torch.equal(scales.log2(), scales.log2().round()) or not grid.power_of_two
    torch.testing.assert_close(grid.rounded(rounded), rounded)  # what is on the grid stays


def test_the_scale_is_the_best_of_those_tried() -> None:
    """Against a plain loop over rows and ranges."""
    weight, grid = drawn(), Grid(4)
    for row, rounded in zip(weight.flatten(1), grid.rounded(weight).flatten(1), strict=True):
        errors = []
        for clip in CLIPS:
            scale = float(row.abs().max()) / 7 * clip
            levels = [max(-7, min(7, round(float(x) / scale))) for x in row]
            errors.append(sum((level * scale - float(x)) ** 2 for level, x in zip(levels, row, strict=True)))
        assert float((rounded - row).square().sum()) == pytest.approx(min(errors), rel=1e-4)


def test_more_bits_are_nearer() -> None:
    weight = drawn()
    errors = [float((Grid(bits).rounded(weight) - weight).norm()) for bits in (8, 6, 4, 2)]
    assert errors == sorted(errors)


def test_silent_layers_stay() -> None:
    assert not Grid(4).rounded(torch.zeros(2, 3)).any()


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_learning_is_straight_through(make: Any) -> None:
    """Against exact weights kept beside the layer: their gradient is that of the rounded ones."""
    torch.manual_seed(0)
    grid, layer, x = Grid(4), nn.Linear(5, 3), torch.randn(20, 5)
    exact = nn.Parameter(layer.weight.detach().clone())
    bias = nn.Parameter(layer.bias.detach().clone())
    scales = grid.scales(exact)
    own, plain = make(layer.parameters(), lr=0.01), make([exact, bias], lr=0.01)
    rounding = Rounding([layer], grid, [own])
    for _ in range(5):
        own.zero_grad(), plain.zero_grad()
        layer(x).square().sum().backward()
        rounded = grid.round(exact, scales)
        nn.functional.linear(x, exact + (rounded - exact).detach(), bias).square().sum().backward()
        own.step(), plain.step()
        torch.testing.assert_close(layer.weight, grid.round(exact, scales))
        torch.testing.assert_close(rounding.exact[0], exact.detach())


def test_learning_goes_on_from_its_state() -> None:
    def learner() -> tuple[nn.Linear, torch.optim.Optimizer, Rounding]:
        torch.manual_seed(0)
        layer = nn.Linear(5, 3)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        return layer, optimizer, Rounding([layer], Grid(2), [optimizer])

    def step(layer: nn.Linear, optimizer: torch.optim.Optimizer, seed: int) -> None:
        optimizer.zero_grad()
        layer(torch.randn(8, 5, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
        optimizer.step()

    one, other = learner(), learner()
    step(*one[:2], 1)
    with torch.no_grad():
        other[0].bias.copy_(one[0].bias)
    other[2].load_state(one[2].state())
    for layer, optimizer, _ in (one, other):
        step(layer, optimizer, 2)
    assert torch.equal(one[0].weight, other[0].weight)


def test_all_synapses_that_learn_are_quantized() -> None:
    torch.manual_seed(0)
    net = SpikingConvNet(ConvNetConfig(channels=(4, 6), stem="whitening"))
    before = {name: x.clone() for name, x in net.state_dict().items()}
    quantize(net, Grid(2))
    changed = {name for name, x in net.state_dict().items() if not torch.equal(x, before[name])}
    assert changed == {"network.2.weight", "network.6.weight", "network.12.weight"}
    assert len(synapses(net)) == 3


def test_spikes_cost_their_mean_rate() -> None:
    """The gradient is that of the cost times the mean rate as a term of the loss."""
    config = ConvNetConfig(channels=(4,), image_size=(8, 8), norm="none", neuron=NeuronConfig(v_threshold=0.2))
    torch.manual_seed(0)
    paying, plain = SpikingConvNet(config), SpikingConvNet(config)
    plain.load_state_dict(paying.state_dict())
    x, cost = torch.rand(5, 3, 8, 8), 0.7
    number = neuron_steps(paying, x[:1])
    assert number == 4 * 8 * 8 * config.T
    charge_neurons(paying, cost, number)
    paying(x).mean().backward()
    rates: list[Tensor] = []
    plain.network[1].register_forward_hook(lambda *args: rates.append(args[2][0].mean()))
    (plain(x).mean() + cost * rates[0]).backward()
    for own, expected in zip(paying.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, expected.grad)
