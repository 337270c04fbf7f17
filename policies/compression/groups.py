"""Which channels of a classifier live and die together: those that synapses make, and that sums join."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from snn4.policies.metering.synaptic_operations import SYNAPSES
from snn4.policies.network import SpikingResidual
from snn4.policies.networks.attention import SelfAttention, SpikeDrivenAttention
from snn4.policies.networks.classifier import SpikingClassifier
from snn4.policies.networks.whitening import WhiteningConv2d
from snn4.policies.neurons import Neuron
from snn4.policies.normalization import StepNorm2d


class Group:
    """Channels with one fate in all layers that write, change or read them."""

    def __init__(self, size: int, fixed: bool = False) -> None:
        self.size = size
        self._fixed = fixed
        self._joined_to: Group | None = None

    @property
    def root(self) -> Group:
        """The group in whose name all joined ones act."""
        return self if self._joined_to is None else self._joined_to.root

    @property
    def fixed(self) -> bool:
        """Whether all its channels stay."""
        return self.root._fixed

    def fix(self) -> None:
        """Keep all channels."""
        self.root._fixed = True

    def join(self, other: Group) -> None:
        """Share the fate of ``other``, to whose channels these are added."""
        own, theirs = self.root, other.root
        if own is not theirs:
            theirs._fixed |= own._fixed
            own._joined_to = theirs


@dataclass(eq=False)
class Connection:
    """Synapses between two groups."""

    name: str
    inputs: Group
    outputs: Group
    norm: str | None = None
    """The norm of their currents."""


@dataclass
class Structure:
    """The connections and the layers between them, by their names in the network, with the group of their channels."""

    connections: list[Connection] = field(default_factory=list)
    norms: dict[str, Group] = field(default_factory=dict)
    neurons: dict[str, Group] = field(default_factory=dict)
    inner: list[Group] = field(default_factory=list)
    """Groups inside the branch of a block, seen by nothing outside."""

    @property
    def groups(self) -> list[Group]:
        """All groups that may lose channels."""
        roots = {id(c.outputs.root): c.outputs.root for c in self.connections}
        return [group for group in roots.values() if not group.fixed]


def structure(network: SpikingClassifier) -> Structure:
    """The structure of ``network``, whose blocks are those of `SpikingResidual`; its scores are fixed."""
    found = Structure()
    image = Group(network.config.in_channels, fixed=True)
    scores = _walk(found, network.network.named_children(), "network.", image)
    scores.fix()
    return found


def _walk(found: Structure, layers: Iterable[tuple[str, nn.Module]], place: str, channels: Group) -> Group:
    """Note all ``layers``, the first of which reads ``channels``; returns the channels behind them."""
    for own, layer in layers:
        name = f"{place}{own}"
        if isinstance(layer, SpikingResidual):
            branch = _walk(found, layer.branch.named_children(), f"{name}.branch.", channels)
            shortcut = _walk(found, layer.shortcut.named_children(), f"{name}.shortcut.", channels)
            found.inner += _inside(found, f"{name}.branch.", branch)
            branch.join(shortcut)
            channels = shortcut
        elif isinstance(layer, (SelfAttention, SpikeDrivenAttention)):
            channels.fix()
            channels = Group(channels.size // 3, fixed=True)
        elif isinstance(layer, SYNAPSES):
            outputs = Group(layer.weight.shape[0], fixed=isinstance(layer, WhiteningConv2d))
            found.connections.append(Connection(name, channels, outputs))
            channels = outputs
        elif isinstance(layer, Neuron):
            found.neurons[name] = channels
        elif _is_norm(layer):
            found.norms[name] = channels
            if found.connections:
                found.connections[-1].norm = name
    return channels


def _inside(found: Structure, place: str, end: Group) -> list[Group]:
    made = [c.outputs for c in found.connections if c.name.startswith(place)]
    return [group for group in made if group is not end]


def _is_norm(layer: Any) -> bool:
    return isinstance(layer, (nn.modules.batchnorm._BatchNorm, StepNorm2d))
