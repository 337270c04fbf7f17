"""Spiking networks of any wiring, given as a list of nodes: what an ANN becomes when it is converted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snn4.policies.backends import make_neuron
from snn4.policies.network import State, Stateful, checked_steps, is_stateful, over_steps
from snn4.policies.networks.classifier import Classifier, SpikingClassifier
from snn4.policies.networks.graph_config import INPUT as INPUT
from snn4.policies.networks.graph_config import JOINS, LAYERS, limits_of, neurons_of, shortened
from snn4.policies.networks.graph_config import GraphConfig as GraphConfig
from snn4.policies.networks.graph_config import Node as Node
from snn4.policies.networks.joins import BurnIn as BurnIn
from snn4.policies.networks.joins import Clip
from snn4.policies.networks.joins import Join as Join
from snn4.policies.networks.joins import SpikeMaxPool2d as SpikeMaxPool2d
from snn4.policies.neurons import Neuron

GRAPHS = {"graph": GraphConfig()}
"""Networks by name: a graph has no layers but those of its nodes."""


class GraphNet(SpikingClassifier):
    """The `SpikingClassifier` of a `GraphConfig`, with neurons of ``backend``."""

    def __init__(self, config: GraphConfig, backend: str = "torch", checkpoint_steps: int | None = None) -> None:
        if not config.nodes:
            raise ValueError("nodes: got none, allowed is one or more; snn4-agent convert writes them")
        _check_shapes(config)
        *hidden, last = config.nodes
        layers: list[nn.Module] = [SpikingGraph(hidden, config, backend)] if hidden else []
        # The readout stays a layer of its own, as in all networks: a policy takes its input for features.
        follows = not hidden or last.inputs == (hidden[-1].name,)
        layers = [*layers, _layer(last, config, backend)] if follows else [SpikingGraph(config.nodes, config, backend)]
        super().__init__(config, [*layers, *([BurnIn(config.burn_in)] if config.burn_in else [])], checkpoint_steps)


class SpikingGraph(Stateful):
    """Nodes in order; the output is that of the last one. The state has one entry for each stateful node."""

    def __init__(self, nodes: Sequence[Node], config: GraphConfig, backend: str = "torch") -> None:
        super().__init__()
        self.nodes = list(nodes)
        self.layers = nn.ModuleDict({node.name: _layer(node, config, backend) for node in nodes})

    def forward(self, x: Tensor, state: State = None, steps: int | None = None) -> tuple[Tensor, State]:
        """As `SpikingSequential.forward`; a constant input stays one step up to the first neurons."""
        after: list[State] = []
        y = _last(self.node_by_node(x, state, steps, after))
        return y, tuple(after)

    def node_by_node(
        self, x: Tensor, state: State, steps: int | None, after: list[State]
    ) -> Iterator[tuple[str, Tensor]]:
        """Name and output (T or 1, B, …) of each node as soon as it has run; states are appended to ``after``."""
        steps = checked_steps(x, steps)
        stateful = [node.name for node in self.nodes if is_stateful(self.layers[node.name])]
        before = dict(zip(stateful, state or (None,) * len(stateful), strict=True))

        def run(node: Node, inputs: list[Tensor]) -> Tensor:
            layer = self.layers[node.name]
            if node.name in before:
                y, last = layer(*inputs, before[node.name], steps)
                after.append(last)
                return y  # type: ignore[no-any-return]
            return layer(*inputs) if isinstance(layer, Join) else over_steps(layer, *inputs)  # type: ignore[no-any-return]

        return _through(self.nodes, x, run)

    def without_time(self) -> nn.Module:
        """The ANN: ReLU for neurons, with their limits; all other layers are shared."""
        return Graph(self.nodes, {node.name: _without_time(node, self.layers[node.name]) for node in self.nodes})


class Graph(nn.Module):
    """A `SpikingGraph` without time."""

    def __init__(self, nodes: Sequence[Node], layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.nodes, self.layers = list(nodes), nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        return _last(_through(self.nodes, x, lambda node, inputs: self.layers[node.name](*inputs)))


def by_name(network: GraphNet | Classifier) -> dict[str, Any]:
    """The layers of a graph's network, or of its twin, by the names of their nodes."""
    nodes = network.config.nodes  # type: ignore[attr-defined]
    parts: Any = network.network
    first = parts[0]
    layers = dict(first.layers) if hasattr(first, "layers") else {}
    if nodes[-1].name not in layers:  # the readout stands beside the graph
        layers[nodes[-1].name] = parts[1 if layers else 0]
    return layers


def _last(outputs: Iterator[tuple[str, Tensor]]) -> Tensor:
    """The last one of ``outputs``, without keeping the others."""
    ((_, y),) = deque(outputs, maxlen=1)
    return y


def _through(
    nodes: Sequence[Node], x: Tensor, run: Callable[[Node, list[Tensor]], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Name and output of each of ``nodes``; outputs are freed after their last use."""
    last_use = {name: number for number, node in enumerate(nodes) for name in node.inputs}
    values = {INPUT: x}
    for number, node in enumerate(nodes):
        y = run(node, [values[name] for name in node.inputs])
        for name in {name for name in node.inputs if last_use[name] == number}:
            del values[name]
        values[node.name] = y
        yield node.name, y


def _check_shapes(config: GraphConfig) -> None:
    """ValueError if a layer does not take the output of the one before it, for images of a known size."""
    if config.image_size is None:
        return
    with torch.device("meta"):
        layers = {node.name: _without_time(node, _layer(node, config, "torch")) for node in config.nodes}
        image = torch.empty(1, config.in_channels, *config.image_size)

        def run(node: Node, inputs: list[Tensor]) -> Tensor:
            try:
                return layers[node.name](*inputs)  # type: ignore[no-any-return]
            except (RuntimeError, ValueError, IndexError) as error:
                got = ", ".join(str(tuple(x.shape[1:])) for x in inputs)
                reason = (str(error).splitlines() or [""])[0]
                raise ValueError(
                    f"nodes: got an input {got} of {node.name}, which it does not take ({reason})"
                ) from error

        _last(_through(config.nodes, image, run))


def _layer(node: Node, config: GraphConfig, backend: str) -> nn.Module:
    if node.kind == "neuron":
        neurons, features = neurons_of(node, config.neuron)
        return make_neuron(neurons, backend, features)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in node.options.items()}
    try:
        if node.kind == "max_pool":
            nn.MaxPool2d(**options)  # type: ignore[arg-type]  # checks their names
            return SpikeMaxPool2d(**options)
        return Join(node.kind, **options) if node.kind in JOINS else LAYERS[node.kind](**options)
    except (TypeError, ValueError, RuntimeError) as error:  # torch's own, of its arguments
        reason = str(error).splitlines()[0]
        got = shortened(options)
        raise ValueError(f"nodes: got {got} of {node.name}, allowed are options of {node.kind} ({reason})") from error


def _without_time(node: Node, layer: nn.Module) -> nn.Module:
    if node.kind == "neuron":
        if isinstance(layer, Neuron) and not layer.config.spikes:
            return nn.Identity()
        limits = limits_of(node)
        if limits is None:
            return nn.ReLU()
        return nn.Hardtanh(0.0, limits[0]) if len(limits) == 1 else Clip(limits)
    return layer.without_time() if hasattr(layer, "without_time") else layer  # type: ignore[no-any-return, operator]
