"""Fewer layers for the same values: norms become a part of the layers before them, and subsampling of those behind."""

from __future__ import annotations

import torch

from snn4.learners.conversion.ann_graph import AnnGraph, is_depthwise
from snn4.policies.networks.graph import Node


def fold(graph: AnnGraph) -> None:
    """Fold, in place, what computes the same without a layer of its own."""
    for name in [node.name for node in graph.nodes]:
        node = graph.node(name)
        before = _only_for(node, graph)
        if before is not None and before.kind == node.kind and _is_scaling(graph, node):
            _fold_scaling(graph, node, before)
    for name in [node.name for node in graph.nodes]:
        node = graph.node(name)
        if (before := _only_for(node, graph)) is not None and _pads(graph, node) and _subsamples(graph, before):
            _fold_subsampling(graph, node, before)


def _only_for(node: Node, graph: AnnGraph) -> Node | None:
    """The node before ``node``, if nothing else takes its output."""
    before = next((other for other in graph.nodes if other.name in node.inputs), None)
    return before if before is not None and len(graph.consumers(before.name)) == 1 else None


def _fold_scaling(graph: AnnGraph, node: Node, before: Node) -> None:
    """Multiply the weights of ``before`` by the factor that ``node`` has for each channel."""
    scale, shift = graph.weights[node.name]
    factors = scale.flatten() if node.kind == "conv2d" else scale.diagonal()
    weight, bias = graph.weights[before.name]
    graph.weights[before.name] = (weight * factors.view(-1, *(1,) * (weight.dim() - 1)), bias * factors + shift)
    graph.remove(node)


def _is_scaling(graph: AnnGraph, node: Node) -> bool:
    """Whether ``node`` scales each channel, and does nothing else."""
    if node.kind != "linear":
        return node.kind == "conv2d" and is_depthwise(node.options)
    weight, _ = graph.weights[node.name]
    return len(weight) == weight.shape[1] and torch.equal(weight, weight.diagonal().diag())


def _pads(graph: AnnGraph, node: Node) -> bool:
    """Whether ``node`` adds channels of zeros, as `functions` writes it."""
    return node.kind == "conv2d" and node.options.get("kernel_size") == 1 and "stride" not in node.options


def _subsamples(graph: AnnGraph, node: Node) -> bool:
    """Whether ``node`` takes every second pixel, as `functions` writes it."""
    if node.kind != "conv2d" or "stride" not in node.options or not is_depthwise({**node.options, "stride": 1}):
        return False
    weight, bias = graph.weights[node.name]
    return bool((weight == 1).all()) and not bias.any()


def _fold_subsampling(graph: AnnGraph, node: Node, before: Node) -> None:
    """Give the 1 x 1 convolution ``node`` the stride of ``before``: the two make one shortcut."""
    options = {**node.options, "stride": before.options["stride"]}
    graph.nodes = [other._replace(options=options) if other.name == node.name else other for other in graph.nodes]
    graph.remove(before)
