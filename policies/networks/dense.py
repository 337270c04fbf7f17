"""Spiking networks of fully connected layers, for images without spatial structure, such as permuted images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import ClassVar, Literal

from torch import nn

from snn4.policies.backends import make_neuron
from snn4.policies.networks.classifier import ClassifierConfig, SpikingClassifier
from snn4.policies.normalization import BatchNorm1d


@dataclasses.dataclass(frozen=True)
class DenseConfig(ClassifierConfig):
    """Fully connected layers of neurons; the first layer sees all pixels."""

    hidden: tuple[int, ...] = (256, 256)
    """Neurons in each layer."""
    norm: Literal["batch", "none"] = "batch"
    """batch: normalizes the currents, with statistics over steps and samples. A single sample has no variance, so the
    running statistics normalize it and do not change. none: layers have a bias instead."""
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"norm": ("batch", "none")}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden: got {self.hidden}, allowed are one or more whole numbers >= 1")
        if self.image_size is None:
            raise ValueError("image_size: got None, allowed is (height, width) for fully connected layers")


DENSE = {"dense-small": DenseConfig(image_size=(28, 28), in_channels=1)}
"""Networks by name."""


class Dense(SpikingClassifier):
    """The `SpikingClassifier` of a `DenseConfig`, with neurons of ``backend``."""

    def __init__(self, config: DenseConfig, backend: str = "torch", checkpoint_steps: int | None = None) -> None:
        super().__init__(config, _layers(config, backend), checkpoint_steps)


def _layers(c: DenseConfig, backend: str) -> Iterator[nn.Module]:
    yield nn.Flatten()
    width = c.in_channels * math.prod(c.image_size or ())
    for neurons in c.hidden:
        yield nn.Linear(width, neurons, bias=c.norm == "none")
        if c.norm == "batch":
            yield BatchNorm1d(neurons)
        yield make_neuron(c.neuron, backend, (neurons,))
        width = neurons
    yield nn.Linear(width, c.n_classes)
