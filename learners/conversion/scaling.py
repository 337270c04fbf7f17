"""Thresholds moved into weights: every neuron spikes at 1, and stands for the activation of its ANN unit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from snn4.learners.conversion.ann_graph import AnnGraph, depthwise
from snn4.policies.networks.graph import INPUT, Node


def scaled(graph: AnnGraph, sizes: Mapping[str, Tensor]) -> AnnGraph:
    """``graph`` with weights for which the activation of each unit is ``size * rate``; rates are from 0 to 1.

    ReLU passes positive factors, so the result, seen as an ANN, computes what ``graph`` computes. Factors go into
    weights; a shortcut that has none gets a depthwise 1 x 1 convolution.

    Args:
        graph: a traced ANN.
        sizes: the activation (C,) > 0 that a spike in every step stands for, by neuron.
    """
    return _Scaling(graph, sizes).result


class _Scaling:
    def __init__(self, graph: AnnGraph, sizes: Mapping[str, Tensor]) -> None:
        self.graph, self.sizes = graph, sizes
        self.result = AnnGraph(channels=dict(graph.channels))
        self.units: dict[str, Tensor] = {INPUT: torch.ones(graph.channels[INPUT])}
        """For each node, the ANN's value (C,) of an output of 1."""
        for node in graph.nodes:
            self._place(node)
        self._end(graph.nodes[-1].name)

    def _end(self, last: str) -> None:
        """A linear readout after an ANN that ends with a pooling of activations, so that scores have the ANN's unit."""
        unit = self.units[last]
        if not torch.equal(unit, torch.ones_like(unit)):
            self.result.weights["readout"] = (unit.diag(), torch.zeros_like(unit))
            self._append(
                Node("readout", "linear", (last,), {"in_features": len(unit), "out_features": len(unit)}),
                torch.ones_like(unit),
            )

    def _place(self, node: Node) -> None:
        units = [self.units[name] for name in node.inputs]
        match node.kind:
            case "conv2d" | "linear":
                self._synapses(node, units[0])
            case "neuron":
                size = self.sizes[node.name]
                limit = node.options.get("limit")
                options = {} if limit is None else {"limit": _one_if_equal(limit / size)}
                inputs = self._brought(node, size)
                self._append(node._replace(inputs=inputs, options=options), size)
            case "add":
                unit = self._wanted(node.name)
                self._append(node._replace(inputs=self._brought(node, unit)), unit)
            case "concat":
                self._append(node, torch.cat(units))
            case "flatten":
                channels = self.graph.channels[node.name]
                self._append(node, units[0].repeat_interleave(channels // len(units[0])))
            case _:  # pooling, of each channel alone
                self._append(node, units[0])

    def _synapses(self, node: Node, source: Tensor) -> None:
        weight, bias = self.graph.weights[node.name]
        unit = self._wanted(node.name)
        groups = node.options.get("groups", 1)
        incoming = source.view(groups, -1).repeat_interleave(len(weight) // groups, 0)  # (out, in / groups)
        shape = (*incoming.shape, *(1,) * (weight.dim() - 2))
        outgoing = unit.view(-1, *(1,) * (weight.dim() - 1))
        self.result.weights[node.name] = (weight * incoming.view(shape) / outgoing, bias / unit)
        self._append(node, unit)

    def _append(self, node: Node, unit: Tensor) -> None:
        self.result.nodes.append(node)
        self.units[node.name] = unit

    def _wanted(self, name: str) -> Tensor:
        """The unit of a node's output: that of the only neurons behind it, else 1."""
        behind = self.graph.consumers(name)
        if len(behind) == 1:
            (node,) = behind
            if node.kind == "neuron":
                return self.sizes[node.name]
            if node.kind in ("add", "avg_pool", "adaptive_avg_pool", "max_pool"):
                return self._wanted(node.name)
        return torch.ones(self.graph.channels[name])

    def _brought(self, node: Node, unit: Tensor) -> tuple[str, ...]:
        """The inputs of ``node`` in this unit; a convolution scales those in another one."""
        return tuple(self._in(node.name, number, name, unit) for number, name in enumerate(node.inputs))

    def _in(self, node: str, number: int, source: str, unit: Tensor) -> str:
        factor = self.units[source] / unit
        if torch.allclose(factor, torch.ones_like(factor), rtol=1e-6):
            return source
        name = f"{node}_scale_{number}"
        self.result.weights[name] = (factor.view(-1, 1, 1, 1), torch.zeros_like(factor))
        self.result.channels[name] = len(factor)
        self._append(Node(name, "conv2d", (source,), depthwise(len(factor))), unit)
        return name


def _one_if_equal(limits: Tensor) -> float | list[float]:
    return float(limits[0]) if bool((limits == limits[0]).all()) else limits.tolist()  # type: ignore[no-any-return]
