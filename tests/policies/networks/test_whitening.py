from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn4.policies.networks.ann import twin
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.networks.whitening import WhiteningConv2d, fit_whitening

SMALL: dict[str, Any] = {"channels": (6, 8), "in_channels": 3, "n_classes": 4, "T": 2, "stem": "whitening"}


def correlated_images(n: int = 64) -> Tensor:
    """Smooth images with channels that depend on each other, like photographs."""
    x = torch.randn(n, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    mixing = torch.tensor([[1.0, 0.5, 0.2], [0.8, 0.6, 0.1], [0.9, 0.4, 0.5]])
    return nn.functional.avg_pool2d(torch.einsum("dc,bchw->bdhw", mixing, x), 3, 1)


def covariance(maps: Tensor) -> Tensor:
    rows = maps.detach().double().movedim(1, -1).flatten(0, -2)
    return rows.mT @ rows / len(rows)


def test_patches_come_out_white() -> None:
    images, layer = correlated_images(), WhiteningConv2d(3)
    assert not torch.allclose(covariance(layer(images)[:, :12]), torch.eye(12).double(), atol=0.1)
    layer.fit(images, eps=0)
    torch.testing.assert_close(covariance(layer(images)[:, :12]), torch.eye(12).double(), atol=1e-3, rtol=0)


def test_the_second_half_is_the_negative_of_the_first() -> None:
    layer = WhiteningConv2d(3)
    layer.fit(correlated_images())
    y = layer(torch.randn(2, 3, 5, 6))
    assert y.shape == (2, 24, 4, 5)
    torch.testing.assert_close(y[:, 12:], -y[:, :12])


def test_an_initialisation_from_outside_leaves_it_alone() -> None:
    network = SpikingConvNet(ConvNetConfig(**SMALL))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    before = [layer.weight.clone() for layer in layers]

    def orthogonal(layer: nn.Module) -> None:  # as stable-baselines3's policies do with a features extractor
        if isinstance(layer, nn.Conv2d):
            nn.init.orthogonal_(layer.weight)

    network.apply(orthogonal)
    unchanged = [torch.equal(layer.weight, x) for layer, x in zip(layers, before, strict=True)]
    assert unchanged == [isinstance(layer, WhiteningConv2d) for layer in layers]
    assert any(unchanged)


def test_axes_without_variance_stay_small() -> None:
    grey = correlated_images()[:, :1].expand(-1, 3, -1, -1)
    layer = WhiteningConv2d(3)
    layer.fit(grey)
    assert torch.isfinite(layer.weight).all()
    assert layer.weight.abs().max() < 1 / 5e-4**0.5 + 1


def test_the_filters_do_not_depend_on_the_order_of_images() -> None:
    images = correlated_images()
    first, second = WhiteningConv2d(3), WhiteningConv2d(3)
    first.fit(images)
    second.fit(images.flip(0))
    torch.testing.assert_close(first.weight, second.weight, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("head", ["flatten", "average"])
def test_a_network_with_whitened_patches(head: Any) -> None:
    config = ConvNetConfig(**SMALL, head=head, pooled="currents", image_size=(9, 9))
    spiking, ann = SpikingConvNet(config), twin(config)
    for network in (spiking, ann):
        fit_whitening(network, correlated_images())
        network(torch.randn(2, 3, 9, 9)).sum().backward()
    frozen = {name for name, p in spiking.named_parameters() if p.grad is None}
    assert frozen == {"network.0.weight"}
    torch.testing.assert_close(spiking.network[0].weight, ann.network[0].weight)


def test_pooled_currents_are_convolution_pooling_norm_neuron() -> None:
    kinds = [
        type(layer).__name__
        for layer in SpikingConvNet(ConvNetConfig(channels=(4,), blocks=(2,), pooled="currents")).network
    ]
    assert kinds[:7] == ["Conv2d", "AvgPool2d", "BatchNorm2d", "Neuron", "Conv2d", "BatchNorm2d", "Neuron"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "resnet", "pooled": "currents"}, "^pooled: currents is not allowed with kind: resnet; set kind: vgg"),
        ({"kind": "vgg", "stem": "large"}, "^stem: large is not allowed with kind: vgg; set kind: resnet"),
        ({"stem": "whitening", "image_size": (8, 8)}, "image_size: got .8, 8., allowed are sides >= 9"),
    ],
)
def test_fields_that_exclude_each_other(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvNetConfig(**fields)
