"""The networks of a traced ANN: spiking, and as an ANN again."""

from __future__ import annotations

from dataclasses import replace

import torch

from snn4.learners.conversion.ann_graph import AnnGraph
from snn4.policies.networks.ann import twin
from snn4.policies.networks.classifier import Classifier
from snn4.policies.networks.graph import GraphConfig, GraphNet, Node, by_name


def spiking(graph: AnnGraph, config: GraphConfig) -> GraphNet:
    """The spiking network of ``graph``; ``config`` says everything but its nodes. Every layer has a bias."""
    network = GraphNet(replace(config, nodes=tuple(map(_plain, graph.nodes))))
    load(network, graph)
    return network.eval()


def artificial(graph: AnnGraph, config: GraphConfig) -> Classifier:
    """The ANN of ``graph``."""
    network = twin(replace(config, nodes=tuple(map(_plain, graph.nodes)), burn_in=0))
    load(network, graph)
    return network.eval()


@torch.no_grad()
def load(network: GraphNet | Classifier, graph: AnnGraph) -> None:
    """Load the weights of ``graph`` into its network."""
    layers = by_name(network)
    for name, (weight, bias) in graph.weights.items():
        layers[name].weight.copy_(weight)
        layers[name].bias.copy_(bias)


def _plain(node: Node) -> Node:
    """``node`` with options that JSON and YAML can hold."""
    options = {key: list(x) if isinstance(x, tuple) else x for key, x in node.options.items()}
    return Node(node.name, node.kind, node.inputs, options)
