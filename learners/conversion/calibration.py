"""Biases corrected layer by layer, so that the mean rate of each channel is the mean activation of its ANN unit."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from snn4.learners.conversion.progress import Progress
from snn4.learners.conversion.sizes import activations
from snn4.policies.networks.classifier import Classifier
from snn4.policies.networks.graph import GraphNet, Node, by_name

STEPS_AT_ONCE = 4096
"""Images times steps that are corrected together; all their currents of a layer are in memory at a time."""
REPEATS = 2
"""Corrections of each layer: the second one corrects what the first one has changed."""


@torch.no_grad()
def corrected(network: GraphNet, ann: Classifier, images: Tensor) -> Iterator[Progress]:
    """Correct the biases of ``network`` in place, with a report per layer.

    Each layer sees the spikes of the corrected layers before it. The mean difference between activation and rate is
    added to the current of each channel (Li et al. 2021, the light pipeline).

    Args:
        network: spiking.
        ann: in the same units.
        images: (N, C, H, W), of which the first ones are used.
    """
    nodes: tuple[Node, ...] = network.config.nodes  # type: ignore[attr-defined]
    names = [node.name for node in nodes if node.kind == "neuron"]
    images = images[: max(STEPS_AT_ONCE // network.config.T, 16)]
    layers = by_name(network)
    correction = _Correction(network, _mean_activations(ann, names, images))
    handles = [layers[name].register_forward_pre_hook(functools.partial(correction, name)) for name in names]
    try:
        graph: Any = network.network[0]
        for name, _ in graph.node_by_node(images.unsqueeze(0), None, network.config.T, []):
            if name in names:
                yield Progress("correct biases", names.index(name) + 1, len(names))
    finally:
        for handle in handles:
            handle.remove()


class _Correction:
    """A forward pre-hook of neurons: moves the bias before them, and the current that they are about to see.

    Args:
        network: whose biases are moved.
        means: activation (C,) of each layer of neurons, by name.
    """

    def __init__(self, network: GraphNet, means: Mapping[str, Tensor]) -> None:
        self.means, self.layers = means, by_name(network)
        self.burn_in: int = network.config.burn_in  # type: ignore[attr-defined]
        self.nodes: dict[str, Node] = {node.name: node for node in network.config.nodes}  # type: ignore[attr-defined]

    def __call__(self, name: str, layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        current, *rest = inputs
        source = _source_of(self.nodes, name)
        if source is None:
            return inputs
        shift = torch.zeros_like(self.means[name])
        for _ in range(REPEATS):
            spikes, _ = layer.forward(current + _per_channel(shift, current), *rest)
            shift += self.means[name] - _mean(spikes[self.burn_in :], channel=2)
        self.layers[source].bias += shift
        return (current + _per_channel(shift, current), *rest)


def _mean_activations(ann: Classifier, names: list[str], images: Tensor) -> dict[str, Tensor]:
    sums: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        sums[name] = sums.get(name, torch.zeros(())) + _mean(output, channel=1) * len(output)

    with activations(ann, names, keep):
        for x in images.split(100):
            ann(x)
    return {name: value / len(images) for name, value in sums.items()}


def _mean(x: Tensor, channel: int) -> Tensor:
    return x.mean([dim for dim in range(x.dim()) if dim != channel])


def _per_channel(values: Tensor, current: Tensor) -> Tensor:
    """``values`` (C,) in the shape of a current (T, B, C, …)."""
    return values.view(-1, *(1,) * (current.dim() - 3))


def _source_of(nodes: Mapping[str, Node], name: str) -> str | None:
    """A node with a bias that adds to the current of neuron ``name``, and to nothing else; None if there is none."""
    uses = Counter(source for node in nodes.values() for source in node.inputs)
    for source in nodes[name].inputs:
        if uses[source] > 1:
            continue
        match nodes[source].kind if source in nodes else None:
            case "conv2d" | "linear":
                return source
            case "add" | "avg_pool" | "adaptive_avg_pool" | "max_pool":
                if (found := _source_of(nodes, source)) is not None:
                    return found
    return None
