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
JOINS = ("add", "concat")
"""Kinds with one input or more; the others have one."""


class Node(NamedTuple):
    """A layer of a graph, and where its inputs come from."""

    name: str
    kind: str
    """One of `KINDS`. neuron: the neurons of the network; limit: the largest output of the ANN's activation, one number
    or one for each channel."""
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
        if not isinstance(self.nodes, (tuple, list)):
            raise ValueError(f"nodes: got {type(self.nodes).__name__}, allowed is a list of nodes")
        object.__setattr__(self, "nodes", tuple(_node(number, node) for number, node in enumerate(self.nodes)))
        known = {INPUT}
        for node in self.nodes:
            _check(node, known)
            known.add(node.name)
        if not 0 <= self.burn_in < self.T:
            raise ValueError(f"burn_in: got {self.burn_in}, allowed is a whole number >= 0 and < T ({self.T})")


def _node(number: int, node: Any) -> Node:
    """A `Node` of a list as YAML and JSON have it."""
    if isinstance(node, (tuple, list)) and 3 <= len(node) <= 4:
        name, kind, inputs, options = (*node, {})[:4]
        typed = isinstance(name, str) and isinstance(inputs, (tuple, list)) and isinstance(options, Mapping)
        if typed and all(isinstance(source, str) for source in inputs):
            return Node(name, kind, tuple(inputs), dict(options))
    raise ValueError(f"nodes: got {shortened(node)} as number {number}, allowed is [name, kind, [inputs], {{options}}]")


def _check(node: Node, known: set[str]) -> None:
    """ValueError for a node that is wrong by itself, or does not fit the ``known`` ones before it."""
    if node.kind not in KINDS:
        raise ValueError(f"nodes: got kind {node.kind!r} of {node.name}, allowed are {', '.join(KINDS)}")
    if missing := [name for name in node.inputs if name not in known]:
        raise ValueError(f"nodes: got input {missing[0]!r} of {node.name}, allowed are names of earlier nodes")
    if node.name in known:
        raise ValueError(f"nodes: got {node.name!r} twice, allowed are names that differ")
    if not node.name or "." in node.name or hasattr(nn.ModuleDict(), node.name):
        raise ValueError(
            f"nodes: got {node.name!r}, allowed are names without dots that torch.nn.ModuleDict does not use"
        )
    if len(node.inputs) != 1 and not (node.inputs and node.kind in JOINS):
        allowed = "one or more" if node.kind in JOINS else "one"
        raise ValueError(f"nodes: got {len(node.inputs)} inputs of {node.name}, allowed with {node.kind} is {allowed}")


def shortened(value: Any, most: int = 80) -> str:
    """``repr`` of a value, cut so that it fits into a line."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}…"


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
    """Scores (T, B, n) without those of the first ``steps``: the mean of the outputs so far is that of later scores.

    Outputs of the first steps are 0. With x summed from step ``steps + 1`` on, ``y[1] + … + y[t] = t / (t - steps) *
    (x[steps + 1] + … + x[t])``. The state is the number of steps so far, and the sum of the x (1, B, n).
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(
        self, x: Tensor, state: tuple[int, Tensor] | None = None, steps: int | None = None
    ) -> tuple[Tensor, tuple[int, Tensor]]:
        steps = checked_steps(x, steps)
        first, before = state or (0, torch.zeros_like(x[:1]))
        number = torch.arange(first, first + steps + 1, device=x.device).view(-1, *(1,) * (x.dim() - 1))
        sums = torch.cat([before, before + torch.where(number[1:] > self.steps, x, 0).cumsum(0)])
        factors = (number.double() / (number - self.steps).clamp_min(1)).to(x.dtype)
        outputs = (sums * factors).diff(dim=0)
        return outputs, (first + steps, sums[-1:])

    def without_time(self) -> nn.Module:
        return nn.Identity()

    def extra_repr(self) -> str:
        return str(self.steps)


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
        _limits(node)
        return make_neuron(config.neuron, backend, None)
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


def _limits(node: Node) -> list[float] | None:
    """Largest outputs of the ANN's activation, one or one for each channel; ValueError if one is no number above 0."""
    others = [key for key in node.options if key != "limit"]
    limit = node.options.get("limit")
    limits = list(limit) if isinstance(limit, (list, tuple)) else [] if limit is None else [limit]
    if others or limit == [] or not all(isinstance(value, (int, float)) and value > 0 for value in limits):
        got = shortened(dict(node.options))
        raise ValueError(f"nodes: got {got} of {node.name}, allowed is a limit > 0, or one for each channel")
    return limits or None


class Clip(nn.Hardtanh):
    """ReLU with a largest output for each channel of images (B, C, H, W) or vectors (B, C)."""

    def __init__(self, limits: Sequence[float]) -> None:
        super().__init__(0.0, max(limits))
        self.limits = limits

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().minimum(x.new_tensor(self.limits).view(-1, *(1,) * (x.dim() - 2)))


def _without_time(node: Node, layer: nn.Module) -> nn.Module:
    if node.kind == "neuron":
        limits = _limits(node)
        if limits is None:
            return nn.ReLU()
        return nn.Hardtanh(0.0, limits[0]) if len(limits) == 1 else Clip(limits)
    return layer.without_time() if hasattr(layer, "without_time") else layer  # type: ignore[no-any-return, operator]
