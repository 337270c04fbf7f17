from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from snn4.policies.networks.ann import Residual, twin, without_time
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import Neuron

VARIANTS: list[dict[str, Any]] = [
    {"norm": "threshold", "blocks": (2, 1), "pooling": "max"},
    {"kind": "resnet", "shortcut": "sew", "norm": "step"},
    {"kind": "resnet", "shortcut": "ms", "norm": "none", "stem": "large", "head": "flatten", "image_size": (9, 9)},
]


def shapes(network: nn.Module, x: torch.Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """Kind and output shape per sample of each layer with weights and of each activation, in order."""
    layers: list[tuple[str, tuple[int, ...]]] = []

    def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
        y = output[0].flatten(0, 1) if isinstance(layer, Neuron) else output
        layers.append(("activation" if isinstance(layer, (Neuron, nn.ReLU)) else type(layer).__name__, y.shape[1:]))

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.ReLU, Neuron, nn.AvgPool2d, nn.MaxPool2d)):
            module.register_forward_hook(hook)
    network(x)
    return layers


@pytest.mark.parametrize("fields", VARIANTS)
def test_a_twin_has_the_same_layers_and_parameters(fields: dict[str, Any]) -> None:
    config = ConvNetConfig(channels=(6, 8), in_channels=1, T=2, **fields)
    spiking, ann = SpikingConvNet(config), twin(config)
    x = torch.rand(3, 1, 9, 9)
    assert shapes(ann, x) == shapes(spiking, x)
    assert not any(isinstance(module, Neuron) for module in ann.modules())
    assert [p.shape for p in ann.parameters()] == [p.shape for p in spiking.parameters()]
    assert ann(x).shape == (3, 10)


def test_a_twin_is_relu_in_place_of_neurons() -> None:
    spiking = SpikingConvNet(ConvNetConfig("resnet", (4, 6), in_channels=1, shortcut="ms")).eval()
    ann, x = without_time(spiking.network), torch.rand(2, 1, 8, 8)
    blocks = [layer for layer in ann if isinstance(layer, Residual)]
    signal = ann[:2](x)
    for block in blocks:
        (_, conv, norm, _, conv2, norm2), shortcut = block.branch, block.shortcut
        signal = norm2(conv2(norm(conv(signal.relu())).relu())) + shortcut(signal)
    torch.testing.assert_close(ann(x), ann[-1](signal.relu().mean((2, 3))))
    assert ann[-1] is spiking.network[-1]


def test_a_twin_takes_images_only() -> None:
    ann = twin(ConvNetConfig(channels=(4, 4)))
    with pytest.raises(ValueError, match=r"^x: got shape \(1, 2, 3, 8, 8\), allowed is \(B, C, H, W\), each >= 1"):
        ann(torch.zeros(1, 2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"^x: got 1 channels, allowed is in_channels \(3\)"):
        ann(torch.zeros(2, 1, 8, 8))
