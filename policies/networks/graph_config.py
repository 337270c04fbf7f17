"""Configs of spiking graphs: a list of nodes, each of which is a layer with earlier nodes as its inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from snn4.policies.networks.classifier import ClassifierConfig
from snn4.policies.neurons import NeuronConfig, neuron_config

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
    """One of `KINDS`. neuron: the neurons of the network, with changed fields (neuron), and the shape of their learned
    time constants (features, plif); limit: the largest output of the ANN's activation, one number or one for each
    channel."""
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


def neurons_of(node: Node, common: NeuronConfig) -> tuple[NeuronConfig, tuple[int, ...] | None]:
    """The neurons of a node, which are ``common`` with changes, and the shape of their learned time constants.

    Raises:
        ValueError: for options that neurons do not have; the message names the node.
    """
    changes, features = node.options.get("neuron", {}), node.options.get("features")
    limits_of(node)
    try:
        config = neuron_config({**dataclasses.asdict(common), **changes})
    except (TypeError, ValueError) as error:
        raise ValueError(f"nodes: got neurons of {node.name} that cannot be ({error})") from error
    if features is not None and not all(isinstance(n, int) and n >= 1 for n in features):
        raise ValueError(f"nodes: got features {shortened(features)} of {node.name}, allowed are whole numbers >= 1")
    return config, None if features is None else tuple(features)


def limits_of(node: Node) -> list[float] | None:
    """Largest outputs of the ANN's activation, one or one for each channel; ValueError if one is no number above 0."""
    others = [key for key in node.options if key not in ("limit", "neuron", "features")]
    limit = node.options.get("limit")
    limits = list(limit) if isinstance(limit, (list, tuple)) else [] if limit is None else [limit]
    if others or limit == [] or not all(isinstance(value, (int, float)) and value > 0 for value in limits):
        got = shortened(dict(node.options))
        raise ValueError(f"nodes: got {got} of {node.name}, allowed is a limit > 0, or one for each channel, beside "
                         "changes (neuron) and a shape (features)")  # fmt: skip
    return limits or None
