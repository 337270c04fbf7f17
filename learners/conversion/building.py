"""The nodes of torch.fx become those of an `AnnGraph`, each with a name, its inputs and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from snn4.learners.conversion.ann_graph import AnnGraph, CannotConvert, depthwise
from snn4.policies.networks.graph import INPUT, Node

ALLOWED = (
    "Allowed are Linear, Conv2d, BatchNorm, ReLU, ReLU6, max and average pooling, sums, concatenation of channels and "
    "flattening"
)


class Builder:
    """An `AnnGraph` that grows node by node.

    Args:
        traced: with the shapes of all outputs.
        channels: of the input.
    """

    def __init__(self, traced: fx.GraphModule, channels: int) -> None:
        self.modules = dict(traced.named_modules())
        self.graph = AnnGraph(channels={INPUT: channels})
        self.names: dict[fx.Node, str] = {}
        """The name of the node in the graph that has this output."""

    def add(
        self, node: fx.Node, kind: str, options: Mapping[str, Any] | None = None,
        sources: list[fx.Node] | None = None,
    ) -> str:  # fmt: skip
        """Append ``node``; its inputs are ``sources``, or all of torch.fx's."""
        sources = inputs_of(node) if sources is None else sources
        names = tuple(self.names[source] for source in sources)
        self.graph.nodes.append(Node(node.name, kind, names, dict(options or {})))
        self.graph.channels[node.name] = shape_of(node)[1]
        self.names[node] = node.name
        return node.name

    def add_before(self, node: fx.Node, kind: str, options: Mapping[str, Any]) -> str:
        """Append a node that stands between the only input of ``node`` and ``node``."""
        source, name = inputs_of(node)[0], f"{node.name}_{kind}"
        self.graph.nodes.append(Node(name, kind, (self.names[source],), dict(options)))
        self.graph.channels[name] = shape_of(source)[1]
        return name

    def alias(self, node: fx.Node) -> None:
        """Give ``node`` the output of its input: it changes nothing."""
        self.names[node] = self.names[inputs_of(node)[0]]

    def synapses(self, node: fx.Node, kind: str, layer: nn.Conv2d | nn.Linear, options: Mapping[str, Any]) -> None:
        """Append ``layer`` with a copy of its weights."""
        weight = layer.weight.detach().float().cpu()
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().float().cpu()
        self.weighted(node, kind, options, weight.clone(), bias.clone())

    def scaling(self, node: fx.Node, scale: Tensor, shift: Tensor) -> None:
        """Append ``scale * x + shift`` of each channel (C,)."""
        n = len(scale)
        if len(shape_of(node)) == 2:
            self.weighted(node, "linear", {"in_features": n, "out_features": n}, scale.diag(), shift)
        else:
            self.weighted(node, "conv2d", depthwise(n), scale.view(-1, 1, 1, 1), shift)

    def weighted(self, node: fx.Node, kind: str, options: Mapping[str, Any], weight: Tensor, bias: Tensor) -> None:
        """Append a layer with these weights, which takes the first input."""
        self.graph.weights[self.add(node, kind, options, inputs_of(node)[:1])] = (weight, bias)

    def flat(self, node: fx.Node) -> None:
        """Append a flattening of all but the batch, unless there is nothing to flatten."""
        source, shape = inputs_of(node)[0], shape_of(node)
        if shape == shape_of(source):
            self.alias(node)
        elif len(shape) == 2 and shape[0] == shape_of(source)[0]:
            self.add(node, "flatten", sources=[source])
        else:
            raise refused(node, f"a reshape to {tuple(shape)}", "flatten all but the batch")

    def end(self, node: fx.Node) -> AnnGraph:
        """The graph whose output is the argument of ``node``."""
        (output,) = node.args
        if not isinstance(output, fx.Node) or len(shape_of(output)) != 2 or self.names.get(output) in (None, INPUT):
            got = tuple(shape_of(output)) if isinstance(output, fx.Node) else type(output).__name__
            raise CannotConvert(f"output: got {got}, allowed are class scores (B, n) alone; return nothing else")
        self.graph.keep_what_leads_to(self.names[output])
        return self.graph


def inputs_of(node: fx.Node) -> list[fx.Node]:
    """All nodes among the arguments, in order, and twice if they are given twice."""
    return [x for x in (*node.args, *node.kwargs.values()) if isinstance(x, fx.Node)]


def shape_of(node: fx.Node) -> torch.Size:
    meta: Any = node.meta.get("tensor_meta")
    if not hasattr(meta, "shape"):
        raise refused(node, "an output that is no tensor", "return one tensor from each layer")
    return meta.shape  # type: ignore[no-any-return]


def refused(node: fx.Node, what: str, hint: str) -> CannotConvert:
    """The error for ``node``, with its place in the module."""
    place = str(node.target) if node.op == "call_module" else node.name
    return CannotConvert(f"{place}: got {what}, which cannot be converted; {hint}. {ALLOWED}")
