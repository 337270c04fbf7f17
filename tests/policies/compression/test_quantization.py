"""Simulated int8 against integer arithmetic and against the network in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snn4.agent.evaluation.accuracy import Recognizer
from snn4.policies.compression.quantization import INT8, Range, int8_bytes, quantized
from snn4.policies.networks.ann import twin
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import NeuronConfig


def seen(*batches: Tensor) -> Range:
    found = Range()
    for x in batches:
        found.see(nn.Identity(), (x,))
    return found


@pytest.mark.parametrize("signed", [False, True])
def test_a_layer_computes_what_integers_do(signed: bool) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(20, 6), torch.randn(50, 20)
    x = x if signed else x.relu()
    small = quantized(layer, [x])
    weight, top = layer.weight.detach().numpy(), 127 if signed else 255
    w_scale = np.abs(weight).max(1, keepdims=True) / 127
    x_scale = x.abs().max().item() / top
    integers = (
        np.rint(x.numpy() / x_scale).clip(top - 255, top).astype(np.int32)
        @ np.rint(weight / w_scale).astype(np.int32).T
    )
    expected = integers * (x_scale * w_scale.T) + layer.bias.detach().numpy()
    np.testing.assert_allclose(small(x).detach().numpy(), expected, atol=1e-4)
    assert not torch.equal(small(x), layer(x))


def test_inputs_go_to_where_the_network_is() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, device="meta"))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight  # which raises for tensors of two devices

    quantized(Network(), [torch.ones(2, 3)])


def test_weights_have_255_levels_for_each_output() -> None:
    weight = torch.randn(4, 3, 3, 3) * torch.tensor([0.01, 1.0, 100.0, 0.0]).view(4, 1, 1, 1)
    rounded = INT8.rounded(weight)
    for row, given in zip(rounded, weight, strict=True):
        steps = given.abs().max() / 127
        assert torch.all((row - given).abs() <= steps / 2 * 1.001)
        if steps:
            assert torch.allclose(row / steps, (row / steps).round(), atol=1e-3)


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor([0.0, 1.0]),
        torch.tensor([0.0, 1.0, 3.0]),
        torch.tensor([0.25, 0.75, 1.0]),
        torch.tensor([1 / 9, 2 / 9, 1.0]),
        torch.arange(256) / 255,
        torch.zeros(3),
        torch.tensor([-2.0, 1.0]),
    ],
    ids=["spikes", "sums", "averages", "ninths", "pixels", "silence", "signed"],
)
def test_spikes_and_their_sums_and_averages_stay(x: Tensor) -> None:
    assert torch.allclose(seen(x).round(nn.Identity(), (x,))[0], x, rtol=0, atol=1e-6)


def test_the_unit_is_that_of_all_batches() -> None:
    assert seen(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([0.5, 1.0])).scale == 0.5
    assert seen(torch.tensor([0.5]), torch.tensor([1.0])).scale == 0.5
    assert seen(torch.tensor([0.3]), torch.tensor([1.0])).scale == pytest.approx(1 / 255)  # no unit has both
    assert seen(torch.tensor([0.001, 1.0])).scale == pytest.approx(1 / 255)  # 1000 levels are too many
    assert seen().scale == 1


def test_larger_values_than_were_seen_are_cut() -> None:
    found = seen(torch.tensor([0.0, 0.3, 2.0]))
    assert found.round(nn.Identity(), (torch.tensor([5.0, -1.0]),))[0].tolist() == pytest.approx([2.0, 0.0])


def test_networks_stay_and_their_copies_are_near() -> None:
    torch.manual_seed(0)
    net = SpikingConvNet(ConvNetConfig(channels=(8, 12), neuron=NeuronConfig(v_threshold=0.5))).eval()
    x = torch.rand(20, 3, 8, 8)
    for network in (net, twin(net.config).eval()):
        whole = Recognizer(network)
        before, modes = whole(x)[0], [module.training for module in whole.modules()]
        small = quantized(whole, x.split(8))
        after = small(x)[0]
        assert torch.equal(whole(x)[0], before)
        assert [module.training for module in whole.modules()] == modes
        assert not torch.equal(after, before)
        assert (after - before).norm() < 0.3 * before.norm()


def test_bytes_are_one_a_weight_and_four_for_the_rest() -> None:
    assert int8_bytes(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(4, 5))) == 54 + 20 + 4 * (
        3 + 6 + 5
    )
