"""A traced ANN: nodes, their weights, and the size of their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from snn4.policies.networks.graph import INPUT, Node


class CannotConvert(ValueError):
    """A part of a network that has no spiking counterpart; the message names its place, and a replacement."""


@dataclass
class AnnGraph:
    """A traced ANN: nodes in order, of `snn4.policies.networks.graph`, with ``neuron`` for each ReLU."""

    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Weight and bias of each node with synapses."""
    channels: dict[str, int] = field(default_factory=dict)
    """Channels, or features, of each node's output."""

    def consumers(self, name: str) -> list[Node]:
        """The nodes that take the output of ``name``."""
        return [node for node in self.nodes if name in node.inputs]

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    @property
    def neurons(self) -> list[str]:
        """Names of the activations, in order."""
        return [node.name for node in self.nodes if node.kind == "neuron"]

    def remove(self, node: Node) -> None:
        """Take out ``node``; what follows it takes its input."""
        (source,) = node.inputs
        self.nodes = [
            other._replace(inputs=tuple(source if name == node.name else name for name in other.inputs))
            for other in self.nodes
            if other.name != node.name
        ]
        self.weights.pop(node.name, None)

    def keep_what_leads_to(self, last: str) -> None:
        """Drop all nodes that ``last`` does not depend on; it becomes the last one."""
        needed = {last}
        for node in reversed(self.nodes):
            needed |= set(node.inputs) if node.name in needed else set()
        self.nodes = [node for node in self.nodes if node.name in needed]
        self.weights = {name: weights for name, weights in self.weights.items() if name in needed}
        self.channels = {name: n for name, n in self.channels.items() if name in {INPUT, *needed}}


def depthwise(channels: int) -> dict[str, Any]:
    """Options of a 1 x 1 convolution of each channel with itself."""
    return {"in_channels": channels, "out_channels": channels, "kernel_size": 1, "groups": channels}


def is_depthwise(options: Mapping[str, Any]) -> bool:
    """Whether a convolution with these ``options`` scales each channel and does nothing else."""
    pairs = (("kernel_size", 1), ("stride", 1), ("padding", 0))
    plain = all(options.get(name, value) in (value, (value, value)) for name, value in pairs)
    return plain and options.get("groups", 1) == options["in_channels"] == options["out_channels"]
