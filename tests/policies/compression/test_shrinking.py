"""Structured pruning against networks of which the removed channels are known to do nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from snn4.policies.compression.config import CompressionConfig
from snn4.policies.compression.groups import structure
from snn4.policies.compression.shrinking import shrunk
from snn4.policies.networks.classifier import SpikingClassifier
from snn4.policies.networks.convnet import ConvNetConfig
from snn4.policies.networks.dense import DenseConfig
from snn4.policies.networks.graph import GraphConfig, GraphNet
from snn4.policies.networks.perception import make_network
from snn4.policies.networks.spikformer import SpikformerConfig
from snn4.policies.neurons import NeuronConfig

LIVELY = NeuronConfig(v_threshold=0.3)
PLIF = NeuronConfig("plif", v_threshold=0.3, tau_spread=2.0)
SIZE: dict[str, Any] = {"image_size": (8, 8)}
CONFIGS = {
    "vgg": ConvNetConfig("vgg", (8, 12), (2, 2), neuron=LIVELY),
    "vgg like the zoo's": ConvNetConfig(
        "vgg", (8, 12), (2, 2), pooled="currents", pooling="max", stem="whitening", head="flatten", neuron=LIVELY,
        **SIZE,
    ),
    "vgg without norm": ConvNetConfig("vgg", (8, 12), norm="none", neuron=PLIF),
    "vgg with norms of steps": ConvNetConfig("vgg", (4, 4), norm="step", T=4, neuron=LIVELY),
    "sew": ConvNetConfig("resnet", (8, 12), (2, 2), neuron=LIVELY),
    "ms": ConvNetConfig("resnet", (8, 12), (2, 1), shortcut="ms", norm="threshold", neuron=LIVELY),
    "dense": DenseConfig(hidden=(20, 10), neuron=LIVELY, **SIZE),
    "dense without norm": DenseConfig(hidden=(20, 10), norm="none", neuron=LIVELY, **SIZE),
    "spikformer": SpikformerConfig(depth=2, width=16, heads=2, channels=(8, 16), pools=(1, 2), neuron=LIVELY),
    "spike-driven": SpikformerConfig("spike-driven-transformer", 1, 16, 2, channels=(16,), pools=(2,), neuron=LIVELY),
}  # fmt: skip


def made(config: Any) -> SpikingClassifier:
    torch.manual_seed(0)
    network = make_network(config)
    for layer in network.modules():  # norms with statistics of their own, as after a training
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    return network.eval()


def images() -> torch.Tensor:
    return torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def silence(network: SpikingClassifier) -> None:
    """Let nothing read every other channel of each group that may shrink."""
    plan = structure(network)
    inner = plan.inner if isinstance(network.config, SpikformerConfig) else plan.groups
    free = {id(group) for group in inner}
    for connection in plan.connections:
        group = connection.inputs.root
        if id(group) in free:
            weight = network.get_submodule(connection.name).weight
            spread = weight.shape[1] // group.size  # type: ignore[union-attr, index, operator]
            weight.unflatten(1, (group.size, spread))[:, 1::2] = 0  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("name", CONFIGS)
def test_channels_that_nobody_reads_leave(name: str) -> None:
    """The smaller network computes the same, has half of the channels, and an ordinary config."""
    network = made(CONFIGS[name])
    silence(network)
    small = shrunk(network, [images()], CompressionConfig(shrink=0.5))
    with torch.no_grad():
        torch.testing.assert_close(small(images()), network(images()), rtol=1e-4, atol=1e-5)
        assert small(images()).std() > 0
    assert {key: x.shape for key, x in made(small.config).state_dict().items()} == {
        key: x.shape for key, x in small.state_dict().items()
    }
    match small.config:
        case ConvNetConfig(channels=channels):
            assert channels == tuple(width // 2 for width in CONFIGS[name].channels)  # type: ignore[attr-defined]
        case DenseConfig(hidden=hidden):
            assert hidden == (10, 5)
        case SpikformerConfig(hidden=hidden):
            assert hidden == 32


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_leaves_without_a_fraction(name: str) -> None:
    network = made(CONFIGS[name])
    small = shrunk(network, [images()], CompressionConfig(shrink=1e-6))
    assert all(torch.equal(x, small.state_dict()[key]) for key, x in network.state_dict().items())


def test_one_channel_stays() -> None:
    small = shrunk(made(CONFIGS["sew"]), [images()], CompressionConfig(shrink=0.95))
    assert small.config.channels == (1, 1)  # type: ignore[attr-defined]
    small(images())


def test_what_always_spikes_becomes_a_bias() -> None:
    """Of two units, one that always spikes and is hardly read; without it, the scores are the same."""
    network: Any = made(DenseConfig(in_channels=1, image_size=(1, 1), hidden=(2,), norm="none", neuron=LIVELY))
    first, readout = network.network[1], network.network[3]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0], [0.0]]))
        first.bias.copy_(torch.tensor([0.0, 10.0]))
        readout.weight[:, 1] /= 100
    x = torch.rand(20, 1, 1, 1)
    small: Any = shrunk(network, [x], CompressionConfig(shrink=0.5))
    assert small.config.hidden == (1,)
    torch.testing.assert_close(small.network[3].bias, readout.bias + readout.weight[:, 1])
    with torch.no_grad():
        torch.testing.assert_close(small(x), network(x))


def test_conversions_keep_their_widths() -> None:
    graph = GraphNet(GraphConfig(in_channels=1, image_size=(4, 4), nodes=(  # type: ignore[arg-type]
        ("flat", "flatten", ["input"]), ("a", "linear", ["flat"], {"in_features": 16, "out_features": 4}),
        ("n", "neuron", ["a"]), ("b", "linear", ["n"], {"in_features": 4, "out_features": 10}),
    )))  # fmt: skip
    with pytest.raises(ValueError, match=r"shrink: got 0\.5 for a graph network, allowed are vgg"):
        shrunk(graph, [torch.rand(2, 1, 4, 4)], CompressionConfig(shrink=0.5))


def test_blocks_join_their_channels() -> None:
    """In a stage of a residual network, one group crosses all blocks; each block has one of its own."""
    config = dataclasses.replace(CONFIGS["sew"], blocks=(3, 1))
    plan = structure(made(config))
    assert sorted(group.size for group in plan.groups) == [8] * 4 + [12] * 2
