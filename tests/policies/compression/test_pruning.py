"""Absent synapses of classifiers: masks by weight and by pattern, their learning, and their size."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from snn4.policies.compression.config import CompressionConfig
from snn4.policies.compression.pruning import patterned, sparse_layers, with_pattern
from snn4.policies.compression.quantization import Grid
from snn4.policies.compression.size import stored_bytes, synapse_count
from snn4.policies.engine.event_conv import event_driven
from snn4.policies.metering.meter import Meter
from snn4.policies.networks.ann import twin
from snn4.policies.networks.convnet import ConvNetConfig
from snn4.policies.networks.dense import DenseConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.networks.spikformer import SpikformerConfig
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sparse import Sparse, SparseConv2d, SparseLinear, prunable

LIVELY = NeuronConfig(v_threshold=0.3)
VGG = ConvNetConfig("vgg", (8, 12), (2, 2), neuron=LIVELY, image_size=(8, 8), sparsity=0.75)


def made(config: Any = VGG) -> Any:
    torch.manual_seed(0)
    return make_network(config)


def images() -> torch.Tensor:
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("config", "dense"),
    [
        (VGG, {"network.0", "network.16"}),
        (dataclasses.replace(VGG, stem="whitening"), {"network.0", "network.2", "network.18"}),
        (DenseConfig(hidden=(20, 10), image_size=(8, 8)), {"network.5"}),
        (DenseConfig(hidden=(20, 10), image_size=(8, 8), norm="none"), {"network.5"}),
    ],
)
def test_first_convolution_and_readout_stay_dense(config: Any, dense: set[str]) -> None:
    network = made(dataclasses.replace(config, sparsity=0.5))
    synapses = {name for name, layer in network.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}
    sparse = sparse_layers(network)
    assert synapses - sparse.keys() <= dense | {max(synapses, key=lambda name: int(name.split(".")[1]))}
    assert sparse.keys() == prunable(made(dataclasses.replace(config, sparsity=0.0))).keys()
    for layer in sparse.values():
        assert float((layer.weight == 0).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_a_convolution_is_sparse_as_a_matrix_is() -> None:
    torch.manual_seed(0)
    conv = SparseConv2d(4, 6, 1, sparsity=0.6)
    linear = SparseLinear(4, 6, 0.6)
    with torch.no_grad():
        linear.load_state_dict({"weight": conv.weight.flatten(1), "bias": conv.bias})
    x = torch.randn(5, 4)
    assert torch.equal(linear.mask, conv.mask.flatten(1))
    torch.testing.assert_close(conv(x[:, :, None, None]).flatten(1), linear(x))
    conv(x[:, :, None, None]).square().sum().backward()
    linear(x).square().sum().backward()
    torch.testing.assert_close(conv.weight.grad.flatten(1), linear.weight.grad)  # type: ignore[union-attr]
    assert not conv.weight.grad[~conv.mask].any()  # type: ignore[index]


def test_absent_synapses_stay_absent_while_others_learn() -> None:
    network = made().to(memory_format=torch.channels_last)
    absent = {name: layer.weight == 0 for name, layer in sparse_layers(network).items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(images()).square().sum().backward()
        optimizer.step()
    for name, layer in sparse_layers(network).items():
        assert torch.equal(layer.weight == 0, absent[name])
    loaded = made()
    loaded.load_state_dict(network.state_dict())
    assert all(torch.equal(x, loaded.state_dict()[name]) for name, x in network.state_dict().items())


def test_sparse_networks_run_in_the_engine_and_cost_less() -> None:
    network, dense = made().eval(), made(dataclasses.replace(VGG, sparsity=0.0)).eval()
    compiled = event_driven(network)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images()), network(images()), rtol=1e-4, atol=1e-5)
    assert any(type(layer).__name__ == "EventConv2d" for layer in compiled.modules())
    costs = []
    for net in (network, dense):
        with torch.no_grad(), Meter(net) as meter:
            net(images())
        costs.append(meter.cost())
    assert costs[0].connection_sparsity > 0.6 > costs[1].connection_sparsity
    assert costs[0].effective_acs < costs[1].effective_acs


def test_the_twin_is_dense() -> None:
    assert not any(isinstance(layer, Sparse) for layer in twin(VGG).modules())


@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 2, 3)])
@pytest.mark.parametrize("kept", [(2, 4), (1, 2), (1, 8), (3, 4)])
def test_n_of_every_m_inputs_stay(shape: tuple[int, ...], kept: tuple[int, int]) -> None:
    """Against a loop."""
    weight, (n, m) = torch.randn(shape, generator=torch.Generator().manual_seed(0)), kept
    got = patterned(weight, kept)
    rows, expected = weight.movedim(1, -1).reshape(-1, 8), torch.zeros(weight.numel() // 8, 8)
    for row, out in zip(rows, expected, strict=True):
        for start in range(0, 8, m):
            group = row[start : start + m].abs()
            for place in group.argsort(descending=True)[:n]:
                out[start + place] = row[start + place]
    assert torch.equal(got.movedim(1, -1).reshape(-1, 8), expected)


def test_a_pattern_is_kept_by_the_sparse_layers() -> None:
    dense, network = made(dataclasses.replace(VGG, sparsity=0.0)), made(dataclasses.replace(VGG, sparsity=0.5))
    network.load_state_dict(with_pattern(network, dense.state_dict(), (2, 4)))
    for layer in sparse_layers(network).values():
        groups = (layer.weight != 0).transpose(1, -1).unflatten(-1, (-1, 4)).sum(-1)
        assert (groups == 2).all()


def test_a_pattern_must_divide_the_inputs() -> None:
    network = made(dataclasses.replace(VGG, sparsity=0.8))
    with pytest.raises(
        ValueError, match=r"pattern: got 1:5, but network\.3 has 8 inputs; allowed is an M that divides"
    ):
        with_pattern(network, network.state_dict(), (1, 5))


def test_bytes_are_those_of_bits_masks_and_scales() -> None:
    layers = nn.Sequential(SparseLinear(8, 4, 0.75), nn.Linear(4, 2))
    assert synapse_count(layers) == 8 + 8
    assert stored_bytes(layers, None) == (8 * 32 + 32 + 4 * 32 + 8 * 32 + 2 * 32) // 8
    four = (8 * 4 + 32 + 4 * 32) + 4 * 32 + (8 * 4 + 2 * 32) + 2 * 32
    assert stored_bytes(layers, Grid(4)) == four // 8
    assert stored_bytes(layers, Grid(4, "layer", power_of_two=True)) == -(
        -(8 * 4 + 32 + 8 + 4 * 32 + 8 * 4 + 8 + 64) // 8
    )


def test_spikformers_are_pruned_too() -> None:
    network = made(SpikformerConfig(depth=1, width=16, heads=2, channels=(16,), pools=(2,), sparsity=0.5))
    assert len(sparse_layers(network)) == 5
    network(images())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 3}, "bits: got 3, allowed are 8, 6, 4, 2, or null"),
        ({"prune": 0.99}, r"prune: got 0\.99, allowed is a number from 0 to 0\.95"),
        ({"shrink": -0.1}, r"shrink: got -0\.1"),
        ({"pattern": "4:2"}, "pattern: got '4:2', allowed is N:M with N < M"),
        ({"pattern": "half"}, "pattern: got 'half'"),
        ({"pattern": "2:4", "prune": 0.5}, r"pattern: got '2:4' and prune: 0\.5, allowed is one of them"),
        ({"pattern": "1:100"}, "pattern: got '1:100', allowed are patterns that keep 5% or more"),
        ({"prune": 0.5, "power_of_two": True}, "power_of_two: not allowed without bits"),
        ({"prune": 0.5, "spike_cost": -1.0}, "spike_cost: got -1"),
        ({"bits": 8, "spike_cost": 0.1, "recover": False}, "not allowed with recover: false"),
        ({"bits": 8, "steps": 0}, "steps: got 0"),
    ],
)
def test_what_cannot_be_done_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompressionConfig(**fields)
