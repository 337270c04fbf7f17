from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn4.learners.continual.split_network import SplitNetwork, split_after_spikes, split_before_readout
from snn4.policies.networks.ann import twin
from snn4.policies.networks.classifier import SpikingClassifier
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.networks.hybrid import HybridConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.networks.spikformer import SpikformerConfig

SHAPE: dict[str, Any] = {"image_size": (8, 8), "in_channels": 2, "n_classes": 3, "T": 3}
VGG = ConvNetConfig(channels=(4, 6, 8), pooling="max", **SHAPE)
CONFIGS = [
    VGG,
    ConvNetConfig(kind="resnet", channels=(4, 8), shortcut="ms", **SHAPE),
    ConvNetConfig(channels=(4, 8), stem="whitening", **SHAPE),
    ConvNetConfig(channels=(4, 8), norm="step", head="flatten", **SHAPE),
    HybridConfig(front_channels=(4,), channels=(8,), **SHAPE),
    SpikformerConfig(depth=1, width=8, heads=2, pools=(1, 1, 1, 2), **SHAPE),
]


def images() -> Tensor:
    return torch.randn(5, 2, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("ann", [False, True])
def test_both_parts_are_the_network(config: Any, ann: bool) -> None:
    torch.manual_seed(0)
    network = (twin(config) if ann else make_network(config)).double().eval()
    x = images().double()
    wanted, layers = network(x), len(list(network.network.children()))
    for n in range(layers + 1):
        split = SplitNetwork(network, n)
        latent = split.lower(x)
        assert ann or latent.shape[:2] == (3, 5)
        assert torch.allclose(split.upper(latent) if n < layers else latent.mean(0) if not ann else latent, wanted)


def test_events_too() -> None:
    torch.manual_seed(0)
    network, events = SpikingConvNet(VGG).double().eval(), torch.randn(4, 5, 2, 8, 8).double()
    split = split_after_spikes(network)
    assert torch.allclose(split.upper(split.lower(events)), network(events))


def test_the_latent_after_spikes_is_spikes() -> None:
    network = SpikingConvNet(VGG).eval()
    layers = [type(layer).__name__ for layer in network.network]
    assert layers[:4] == ["Conv2d", "BatchNorm2d", "Neuron", "MaxPool2d"]
    for layer, end in ((2, 4), (6, 8), (10, 12), (None, 8)):
        split = split_after_spikes(network, layer)
        assert len(split.lower_layers) == end
        assert set(split.lower(images()).unique().tolist()) <= {0.0, 1.0}
    assert len(split_after_spikes(twin(VGG)).lower_layers) == 8


def test_a_stem_of_ordinary_layers_does_not_spike() -> None:
    network = make_network(ConvNetConfig(channels=(4,), stem="whitening", **SHAPE))
    with pytest.raises(ValueError, match="layer: got 1, allowed are layers of neurons: 4"):
        split_after_spikes(network, 1)


def test_networks_that_cannot_be_split() -> None:
    without = SpikingClassifier(VGG, [nn.Flatten(), nn.Linear(128, 3)])
    with pytest.raises(ValueError, match="got no layer of neurons"):
        split_after_spikes(without)
    with pytest.raises(ValueError, match="got Dropout as its last layer"):
        split_before_readout(SpikingClassifier(VGG, [nn.Flatten(), nn.Linear(128, 3), nn.Dropout()]))


def test_features_before_the_readout_tell_the_scores() -> None:
    network = SpikingConvNet(VGG).eval()
    features = split_before_readout(network).lower(images()).mean(0)
    assert torch.allclose(network.network[-1](features), network(images()), atol=1e-6)


def test_frozen_lower_layers() -> None:
    network = SpikingConvNet(VGG)
    split_after_spikes(network).freeze_lower()
    learning = [[p.requires_grad for p in layer.parameters()] for layer in network.network]
    assert not any(map(any, learning[:8]))
    assert all(map(all, learning[8:]))
    assert any(learning[8:])
