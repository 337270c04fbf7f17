from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from snn4.policies.networks.classifier import ClassifierConfig
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.convnet import CONVNETS, ConvNetConfig, SpikingConvNet
from snn4.policies.networks.hybrid import HYBRIDS, Hybrid, HybridConfig
from snn4.policies.networks.perception import NETWORKS, make_network
from snn4.policies.networks.spikformer import Spikformer, SpikformerConfig
from snn4.policies.neurons import NeuronConfig

NEURON = NeuronConfig(tau_mem=3e-3, v_threshold=0.4)


def test_a_name_and_options_make_a_config_for_the_data() -> None:
    network = NetworkConfig("vgg-small", 6, NEURON, options={"channels": [8, 16], "norm": "none", "head": "flatten"})
    expected = ConvNetConfig(
        channels=(8, 16), norm="none", head="flatten", in_channels=2, image_size=(9, 8), n_classes=5, T=6, neuron=NEURON
    )
    assert network.resolve(2, (9, 8), 5) == expected
    hybrid = NetworkConfig("hybrid-small", options={"front_channels": [4], "pools": None, "frozen": True})
    assert hybrid.resolve(1, (32, 32), 10) == HybridConfig(
        front_channels=(4,), frozen=True, in_channels=1, image_size=(32, 32)
    )
    assert NETWORKS["hybrid-small"] == HybridConfig(), "names stay what they are"


def test_every_family_has_its_network() -> None:
    families: dict[str, tuple[type[ClassifierConfig], type[nn.Module]]] = {
        "vgg-small": (ConvNetConfig, SpikingConvNet),
        "hybrid-ann-head": (HybridConfig, Hybrid),
        "spikformer-tiny": (SpikformerConfig, Spikformer),
    }
    for name, (of_config, of_network) in families.items():
        config = NetworkConfig(name, 2).resolve(1, (16, 16), 3)
        network = make_network(config)
        assert type(config) is of_config
        assert type(network) is of_network
        assert network(torch.rand(2, 1, 16, 16)).shape == (2, 3)
    assert {*CONVNETS, *HYBRIDS} < NETWORKS.keys()
    assert len({id(config) for config in NETWORKS.values()}) == len(NETWORKS)
    with pytest.raises(TypeError, match=r"^config: got ClassifierConfig, allowed is the config of a network in"):
        make_network(ClassifierConfig())


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_name_fits_small_and_large_images(name: str) -> None:
    for size in ((32, 32), (224, 224)):
        config = NetworkConfig(name).resolve(3, size, 10)
        assert dataclasses.replace(config, image_size=size) == config
        assert config.smallest_side <= 32


@pytest.mark.parametrize("name", ["vgg-small", "hybrid-small", "hybrid-ann-head"])
def test_backend_and_segments_reach_the_network(name: str) -> None:
    pytest.importorskip("snntorch")
    options = {"channels": [6, 8], "readout": "membrane"} if name == "hybrid-ann-head" else {"channels": [6, 8]}
    config, x = NetworkConfig(name, 3, NEURON, options=options).resolve(1, (16, 16), 3), torch.randn(2, 1, 16, 16)
    torch.manual_seed(0)
    plain: Any = make_network(config)
    torch.manual_seed(0)
    with_backend: Any = make_network(config, "snntorch", checkpoint_steps=2)
    assert with_backend.network.checkpoint_steps == 2
    assert [type(layer) for layer in with_backend.network] != [type(layer) for layer in plain.network]
    torch.testing.assert_close(with_backend.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "vgg-smal"}, "name: got 'vgg-smal', did you mean vgg-small. Allowed are vgg-small, vgg-11"),
        ({"name": "?"}, "name: got '.', allowed are vgg-small, vgg-11"),
        (
            {"options": {"chanels": [4]}},
            "options: got 'chanels', allowed for vgg-small are sparsity, kind, channels, blocks",
        ),
        ({"T": 0}, "T: got 0, allowed is a whole number >= 1"),
        ({"options": {"T": 4}}, "options: got 'T', allowed for vgg-small are sparsity, kind"),
        (
            {"name": "hybrid-small", "options": {"stem": "large"}},
            "options: got 'stem', allowed for hybrid-small are ",
        ),
    ],
)
def test_names_that_are_not_there(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        NetworkConfig(**fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": [8, 0]}, r"channels: got \(8, 0\), allowed is 2 whole numbers >= 1"),
        ({"pools": [4, 4]}, r"pools: got \(4, 4\), allowed is 3 whole numbers"),
        ({"pools": [4, 4, 2]}, r"image_size: got \(16, 16\), allowed are sides >= 32"),
        ({"channels": 16}, r"options: got \{'channels': 16\}, one of which has a wrong type \(.*int"),
        ({"channels": ["8"]}, r"options: got \{'channels': \('8',\)\}, one of which has a wrong type \(.*str"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        NetworkConfig(options=options).resolve(1, (16, 16), 10)
