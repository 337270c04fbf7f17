"""Layers of arrays become networks again: the `GraphNet` of a list of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import torch

from snn4.policies.export.description import INPUT, Add, Conv, Dense, Flatten, Layer, Neurons, Part, Pool
from snn4.policies.networks.graph import GraphConfig, GraphNet, Node, by_name
from snn4.policies.neurons import Neuron, NeuronConfig

FLAT = "flat_input"
"""The node that flattens images for a network of values."""


def graph_net(
    layers: Sequence[Layer], image: tuple[int, int, int], T: int, burn_in: int = 0, sums: AbstractSet[str] = frozenset()
) -> GraphNet:
    """The network of ``layers``, in eval mode.

    Args:
        layers: in order of computation; the last one gives the scores. They take images, or vectors,
            for which images are flattened.
        image: channels, height and width of the input.
        T: steps of a decision.
        burn_in: steps at the start whose scores do not count.
        sums: names of average pooling layers that sum instead.

    Raises:
        ValueError: the layers do not fit each other, or the image; the message names the layer.
    """
    first = next((layer.part.config for layer in layers if isinstance(layer.part, Neurons)), NeuronConfig())
    common = first if first.spikes else NeuronConfig()
    nodes = [_node(layer, common, layer.name in sums) for layer in layers]
    readers = [layer for layer in layers if INPUT in layer.inputs and not isinstance(layer.part, Flatten)]
    if any(len(layer.shape) == 1 for layer in readers):
        nodes = [node._replace(inputs=tuple(FLAT if name == INPUT else name for name in node.inputs)) for node in nodes]
        nodes.insert(0, Node(FLAT, "flatten", (INPUT,)))
    config = GraphConfig(
        in_channels=image[0], image_size=image[1:], n_classes=layers[-1].shape[0], T=T, neuron=common,
        nodes=tuple(nodes), burn_in=burn_in,
    )  # fmt: skip
    network = GraphNet(config)
    _load(network, layers)
    return network.eval()


def _node(layer: Layer, common: NeuronConfig, summed: bool) -> Node:
    kind, options = kind_and_options(layer.part, common)
    return Node(layer.name, kind, layer.inputs, {**options, **({"divisor_override": 1} if summed else {})})


def kind_and_options(part: Part, common: NeuronConfig) -> tuple[str, dict[str, Any]]:
    """Kind and options of the graph's node for ``part``; ``common`` are the neurons of the network."""
    match part:
        case Dense(weight=weight):
            return "linear", {"in_features": weight.shape[1], "out_features": weight.shape[0]}
        case Conv(weight=weight, groups=groups):
            sizes = {"in_channels": weight.shape[1] * groups, "out_channels": weight.shape[0], "groups": groups}
            windows = {key: list(getattr(part, key)) for key in ("stride", "padding", "dilation")}
            return "conv2d", {**sizes, "kernel_size": list(weight.shape[2:]), **windows}
        case Pool(kind="average"):
            return "avg_pool", {
                "kernel_size": list(part.size),
                "stride": list(part.stride),
                "padding": list(part.padding),
            }
        case Flatten():
            return "flatten", {}
        case Add():
            return "add", {}
        case Neurons(config=config, decay=decay):
            own = {key: value for key, value in dataclasses.asdict(config).items() if value != getattr(common, key)}
            learned = config.kind == "plif" and decay.size > 1
            return "neuron", {
                **({"neuron": own} if own else {}),
                **({"features": list(decay.shape)} if learned else {}),
            }
    raise ValueError(f"got {part}, allowed are parts with a node of graphs")


@torch.no_grad()
def _load(network: GraphNet, layers: Sequence[Layer]) -> None:
    modules = by_name(network)
    for layer in layers:
        module: Any = modules[layer.name]
        if isinstance(layer.part, (Dense, Conv)):
            module.weight.copy_(torch.from_numpy(np.array(layer.part.weight)))
            module.bias.copy_(torch.from_numpy(np.array(layer.part.bias)))
        elif isinstance(module, Neuron) and module.decay_logit is not None:
            decay = torch.from_numpy(layer.part.decay).double()  # type: ignore[union-attr]
            module.decay_logit.copy_(decay.logit().reshape(module.decay_logit.shape))
