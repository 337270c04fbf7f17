"""Merged layers compute what PyTorch computes layer by layer."""

import numpy as np
import pytest
import torch
from torch import nn

from snn4.policies.export.describing import describe_classifier
from snn4.policies.export.description import NotExportable
from snn4.policies.export.host import float_layers
from snn4.policies.export.merging import merged
from snn4.policies.networks.classifier import ClassifierConfig, SpikingClassifier

CHAINS = [
    (8, [nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(2)]),
    (9, [nn.Conv2d(3, 4, (3, 2), stride=2, dilation=(1, 2), padding=1), nn.AvgPool2d(3, 2)]),
    (8, [nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, padding=1)]),
    (12, [nn.AvgPool2d(2), nn.Conv2d(3, 6, 3, padding=2, stride=2, dilation=2, groups=3)]),
    (9, [nn.AvgPool2d(2), nn.Conv2d(3, 4, 2)]),
    (9, [nn.AvgPool2d(3, 1), nn.Conv2d(3, 4, 2)]),
    (8, [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(48, 5)]),
    (9, [nn.AvgPool2d(3, 2, 1), nn.Flatten(), nn.Linear(75, 5)]),
    (6, [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)]),
    (8, [nn.Conv2d(3, 6, 3, padding=1, groups=3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, 5), nn.Linear(5, 4)]),
    (8, [nn.AvgPool2d(2), nn.AvgPool2d(2), nn.Conv2d(3, 4, 1)]),
    (8, [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1, groups=4)]),
]


def described(side, modules):
    config = ClassifierConfig(in_channels=3, image_size=(side, side), T=1)
    return describe_classifier(SpikingClassifier(config, modules)).layers


@pytest.mark.parametrize(("side", "modules"), CHAINS)
def test_one_layer_does_the_work_of_a_chain(side, modules):
    torch.manual_seed(0)
    layers = described(side, modules)
    part = merged(layers, (3, side, side), "neurons")
    x = torch.rand(5, 3, side, side)
    with torch.no_grad():
        expected = nn.Sequential(*modules)(x)
    shape = layers[-1].shape
    flat = x.flatten(1) if part.weight.ndim == 2 else x
    y = float_layers((layers[-1]._replace(part=part, inputs=("input",)),), flat[None].numpy())[0]
    np.testing.assert_allclose(y.reshape(-1, *shape), expected.numpy(), atol=1e-5)


def test_groups_stay_groups():
    depthwise, pool = nn.Conv2d(3, 3, 3, groups=3), nn.AvgPool2d(2)
    assert merged(described(8, [depthwise, pool]), (3, 8, 8), "n").weight.shape == (3, 1, 4, 4)


@pytest.mark.parametrize(
    ("side", "modules", "message"),
    [
        (
            9,
            [nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, padding=1)],
            r"^0: got a size that its windows do not divide, \(9, 9\)",
        ),
        (8, [nn.AvgPool2d(3, 2), nn.Conv2d(3, 4, 3, padding=1)], r"^0: got a size that its windows do not divide"),
        (8, [nn.MaxPool2d(2), nn.Conv2d(3, 4, 3)], "^0: got max pooling of spikes, allowed is average pooling"),
        (8, [nn.Conv2d(3, 4, 3), nn.ReLU()], "^1: got Rectify behind spikes, allowed are Dense, Conv and average"),
        (8, [nn.Flatten()], "^neurons2: got no synapses before it, allowed are dense layers and convolutions"),
    ],
)
def test_what_cannot_be_merged_is_named(side, modules, message):
    with pytest.raises(NotExportable, match=message):
        merged(described(side, modules), (3, side, side), "neurons2")
