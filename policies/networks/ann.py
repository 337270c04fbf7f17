"""ANN twins: the same network with ReLU in place of neurons, and without time."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from snn4.policies.network import SpikingResidual, SpikingSequential
from snn4.policies.networks.classifier import Classifier, ClassifierConfig
from snn4.policies.networks.convnet import ConvNetConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.neurons import Neuron, NeuronConfig


class Residual(nn.Module):
    """``branch(x) + shortcut(x)``; an empty shortcut is the identity."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.shortcut(x)  # type: ignore[no-any-return]


def twin(config: ClassifierConfig) -> Classifier:
    """The ANN with the same layers and as many parameters (except plif's time constants and those of step norms)."""
    plain = dataclasses.replace(config, neuron=NeuronConfig(), sparsity=0.0)
    if isinstance(plain, ConvNetConfig) and plain.norm != "none":
        # Norms for thresholds or steps have no meaning here; a batch norm takes their place.
        plain = dataclasses.replace(plain, norm="batch")
    return Classifier(plain, without_time(make_network(plain).network))


def without_time(module: nn.Module) -> nn.Module:
    """``module`` with ReLU for neurons and plain blocks for spiking ones; all other layers are shared, not copied.

    A block returns a counterpart of its own from a method ``without_time()``.
    """
    if hasattr(module, "without_time"):
        return module.without_time()  # type: ignore[no-any-return, operator]
    match module:
        case Neuron():
            return nn.ReLU()
        case SpikingSequential():
            return nn.Sequential(*map(without_time, module))
        case SpikingResidual():
            return Residual(without_time(module.branch), without_time(module.shortcut))
        case _:
            return module
