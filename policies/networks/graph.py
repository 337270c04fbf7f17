"""Spiking networks of any wiring, given as a list of nodes: what an ANN becomes when it is converted."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.policies.backends import make_neuron
from snn4.policies.network import State, Stateful, checked_steps, is_stateful, over_steps
from snn4.policies.networks.classifier import ClassifierConfig, SpikingClassifier

INPUT = "input"
"""The name by which nodes refer to the network's input."""

LAYERS: dict[str, type[nn.Module]] = {
    "conv2d": nn.Conv2d,
    "linear": nn.Linear,
    "avg_pool": nn.AvgPool2d,
    "adaptive_avg_pool": nn.AdaptiveAvgPool2d,
    "flatten": nn.Flatten,
}
"""Layers of torch by their name in a node; the node's options are their arguments."""
KINDS = (*LAYERS, "neuron", "max_pool", "add", "concat")


class Node(NamedTuple):
    """A layer of a graph, and where its inputs come from."""

    name: str
    kind: str
    """One of `KINDS`. neuron: the neurons of the network; a limit is the largest output of the ANN's activation."""
    inputs: tuple[str, ...]
    """Names of earlier nodes, or `INPUT`."""
    options: Mapping[str, Any] = {}
    """Arguments of the layer, in torch's names."""


@dataclasses.dataclass(frozen=True)
class GraphConfig(ClassifierConfig):
    """A network of nodes, each of which is a layer with the outputs of earlier nodes as its input."""

    nodes: tuple[Node, ...] = ()
    """``[name, kind, [inputs], {options}]`` of each layer, in order; the last one gives the class scores."""
    burn_in: int = 0
    """Steps at the start whose scores do not count, because signals still build up; they are part of T."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "nodes", tuple(_node(number, node) for number, node in enumerate(self.nodes)))
        known = {INPUT}
        for node in self.nodes:
            if node.kind not in KINDS:
                raise ValueError(f"nodes: got kind {node.kind!r} of {node.name}, allowed are {', '.join(KINDS)}")
            if missing := [name for name in node.inputs if name not in known]:
                raise ValueError(f"nodes: got input {missing[0]!r} of {node.name}, allowed are names of earlier nodes")
            if node.name in known:
                raise ValueError(f"nodes: got {node.name!r} twice, allowed are names that differ")
            known.add(node.name)
        if not 0 <= self.burn_in < self.T:
            raise ValueError(f"burn_in: got {self.burn_in}, allowed is a whole number >= 0 and < T ({self.T})")


def _node(number: int, node: Any) -> Node:
    """A `Node` of a list as YAML and JSON have it."""
    if not isinstance(node, Sequence) or isinstance(node, str) or not 3 <= len(node) <= 4:
        raise ValueError(f"nodes: got {node!r} as number {number}, allowed is [name, kind, [inputs], {{options}}]")
    name, kind, inputs, *options = node
    return Node(name, kind, tuple(inputs), dict(*options))


GRAPHS = {"graph": GraphConfig()}
"""Networks by name: a graph has no layers but those of its nodes."""


class GraphNet(SpikingClassifier):
    """The `SpikingClassifier` of a `GraphConfig`, with neurons of ``backend``."""

    def __init__(self, config: GraphConfig, backend: str = "torch", checkpoint_steps: int | None = None) -> None:
        if not config.nodes:
            raise ValueError("nodes: got none, allowed is one or more; snn4-agent convert writes them")
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


class Join(nn.Module):
    """A layer with several inputs: their sum, or their channels one after the other."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.kind == "add":
            return sum(inputs[1:], inputs[0])
        steps = max(len(x) for x in inputs)
        # Channels come before height and width; without these, last.
        dim = -3 if inputs[0].dim() > 3 else -1
        return torch.cat([x.expand(steps, *x.shape[1:]) for x in inputs], dim)


class SpikeMaxPool2d(Stateful):
    """Max pooling of accumulated spikes: its own spikes sum to the largest sum of spikes in the window.

    ``y[t] = max sum_{k<=t} x[k] - max sum_{k<=t-1} x[k]`` is 0 or 1 for spikes of 0 and 1, so a rate after T steps is
    exactly the maximum of the rates. The state is the sum of spikes so far (B, C, H, W).

    Args:
        options: of `torch.nn.functional.max_pool2d`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor, state: Tensor | None = None, steps: int | None = None) -> tuple[Tensor, Tensor]:
        steps = checked_steps(x, steps)
        x = x.expand(steps, *x.shape[1:]) if len(x) < steps else x
        first = torch.zeros_like(x[:1]) if state is None else state.unsqueeze(0)
        sums = torch.cat([first, first + x.cumsum(0)])
        largest = F.max_pool2d(sums.flatten(0, 1), **self.options).unflatten(0, sums.shape[:2])
        return largest.diff(dim=0), sums[-1]

    def without_time(self) -> nn.Module:
        return nn.MaxPool2d(**self.options)


class BurnIn(Stateful):
    """Scores (T, B, n) with zeros for the first ``steps``; the others are scaled so that their mean over T is kept.

    The state is the number of steps so far.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor, state: int | None = None, steps: int | None = None) -> tuple[Tensor, int]:
        first, steps = state or 0, checked_steps(x, steps)
        number = torch.arange(first, first + steps, device=x.device).view(-1, *(1,) * (x.dim() - 1))
        counted = max(first + steps - self.steps, 1)
        return torch.where(number < self.steps, 0, x * ((first + steps) / counted)), first + steps

    def without_time(self) -> nn.Module:
        return nn.Identity()

    def extra_repr(self) -> str:
        return str(self.steps)


def _layer(node: Node, config: GraphConfig, backend: str) -> nn.Module:
    match node.kind:
        case "neuron":
            return make_neuron(config.neuron, backend, None)
        case "max_pool":
            return SpikeMaxPool2d(**node.options)
        case "add" | "concat":
            return Join(node.kind)
    return LAYERS[node.kind](**node.options)


def _without_time(node: Node, layer: nn.Module) -> nn.Module:
    if node.kind == "neuron":
        limit = node.options.get("limit")
        return nn.ReLU() if limit is None else nn.Hardtanh(0.0, limit)
    return layer.without_time() if hasattr(layer, "without_time") else layer  # type: ignore[no-any-return, operator]
