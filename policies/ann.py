"""ANN twins: the same network with ReLU in place of neurons, and no time."""

from __future__ import annotations

import dataclasses
from typing import Literal

from torch import Tensor, nn

from snn4.policies.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.network import SpikingResidual, SpikingSequential
from snn4.policies.neurons import Neuron, NeuronConfig


class ConvNet(nn.Module):
    """Images (B, C, H, W) -> class scores (B, n_classes): the network of ``config`` without spikes and time.

    Raises:
        ValueError: for an input of the wrong dimensions, type, channels or size, naming them.
    """

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__()
        # Norms that know thresholds or steps have no meaning here; the batch norm has as many parameters.
        norm: Literal["none", "batch"] = "none" if config.norm == "none" else "batch"
        self.config = dataclasses.replace(config, norm=norm, neuron=NeuronConfig())
        self.network = without_time(SpikingConvNet(self.config).network)

    def forward(self, x: Tensor) -> Tensor:
        self.config.check_input(x, (4,))
        return self.network(x)  # type: ignore[no-any-return]


class Residual(nn.Module):
    """``branch(x) + shortcut(x)``, the identity for an empty shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.shortcut(x)  # type: ignore[no-any-return]


def twin(config: ConvNetConfig) -> ConvNet:
    """The ANN of the same layers, with as many parameters (plif's time constants and step norms' own apart)."""
    return ConvNet(config)


def without_time(module: nn.Module) -> nn.Module:
    """``module`` with ReLU for neurons and plain blocks for spiking ones; all other layers are shared, not copied."""
    match module:
        case Neuron():
            return nn.ReLU()
        case SpikingSequential():
            return nn.Sequential(*map(without_time, module))
        case SpikingResidual():
            return Residual(without_time(module.branch), without_time(module.shortcut))
        case _:
            return module
