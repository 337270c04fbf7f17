from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from snn4.policies.metering.meter import Meter
from snn4.policies.networks.ann import twin
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.dense import DENSE, Dense, DenseConfig
from snn4.policies.networks.perception import make_network

SMALL = DenseConfig((12, 8), image_size=(4, 5), in_channels=2, n_classes=3, T=3)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_images_and_events(norm: Any) -> None:
    network = Dense(dataclasses.replace(SMALL, norm=norm)).eval()
    images = torch.rand(6, 2, 4, 5)
    assert network(images).shape == (6, 3)
    constant = images.expand(3, *images.shape)  # an image is a constant current
    assert torch.allclose(network(constant), network(images), atol=1e-6)


def test_pixels_may_be_anywhere() -> None:
    """Nothing changes if the columns of the first weights move with the pixels."""
    torch.manual_seed(0)
    network, order = Dense(SMALL).eval(), torch.randperm(40)
    images = torch.randn(5, 2, 4, 5)
    before = network(images)
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        first.weight.copy_(first.weight[:, order])
    assert torch.allclose(network(images.flatten(1)[:, order].view_as(images)), before, atol=1e-5)


def test_the_twin_has_as_many_parameters() -> None:
    network, ann = Dense(SMALL), twin(SMALL)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in ann.parameters())
    assert ann(torch.rand(2, 2, 4, 5)).shape == (2, 3)
    with Meter(ann) as meter, torch.no_grad():
        ann.eval()(torch.rand(2, 2, 4, 5) + 0.1)
    assert meter.cost().effective_macs >= 40 * 12


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"hidden": ()}, "hidden"), ({"hidden": (4, 0)}, "hidden"), ({"norm": "step"}, "norm"),
     ({"image_size": None}, "image_size")],
)  # fmt: skip
def test_bad_input(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: got .*allowed"):
        dataclasses.replace(SMALL, **changes)


def test_by_name() -> None:
    assert "dense-small" in DENSE
    config = NetworkConfig("dense-small", options={"hidden": [16]}).resolve(1, (8, 8), 10)
    assert isinstance(make_network(config), Dense)
