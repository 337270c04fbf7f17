"""The activation that a spike in every step stands for: a percentile, or the value with the smallest error at T."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from snn4.learners.conversion.ann_graph import AnnGraph
from snn4.learners.conversion.progress import Progress
from snn4.policies.networks.classifier import Classifier
from snn4.policies.networks.graph import by_name

if TYPE_CHECKING:
    from snn4.learners.conversion.conversion import ConversionConfig

Sizes = dict[str, Tensor]
"""(C,) by neuron."""
SMALLEST = 1e-3
"""Size of a channel that is silent on all calibration images."""
UNEVEN = 0.75
"""Factor on the sizes of neurons that cannot take spikes back. Spikes that arrive unevenly make more errors than a rate
does: on the ResNet-20 of He et al. (2016) for CIFAR-10, 0.7 to 0.75 had the smallest errors at T = 16 and 32."""
KEPT = 4096
"""Activations of each channel that are kept for a percentile or a search, drawn from all images and pixels."""
LARGEST = 2**24
"""Values of which `torch.quantile` finds a quantile."""


def measured(
    ann: Classifier, graph: AnnGraph, images: Tensor, config: ConversionConfig
) -> Generator[Progress, None, Sizes]:
    """The sizes for ``config``, from the activations of ``ann`` on ``images``."""
    samples = yield from _sampled(ann, graph, images)
    sizes = {}
    for name in graph.neurons:
        x = samples[name]
        if config.scale == "layer":
            x = x.reshape(1, -1)
        size = size_of(x, config.T - config.burn_in, config)
        limit = graph.node(name).options.get("limit")
        size = size if limit is None else size.clamp_max(limit)
        sizes[name] = size.clamp_min(SMALLEST).expand(graph.channels[name]).clone()
    return sizes


def size_of(x: Tensor, T: int, config: ConversionConfig) -> Tensor:
    """The size of each row of activations ``x`` (C, n) for rates of T steps, by the method of ``config`` (C,)."""
    if config.method == "threshold-balance":
        return _quantile(x, config.percentile / 100)
    size = smallest_error(x, T)
    return size * UNEVEN if config.neuron == "if" else size


def smallest_error(x: Tensor, T: int) -> Tensor:
    """The size of each row of activations ``x`` (C, n) with the smallest squared error of a rate of T steps (C,)."""
    largest = x.amax(1).clamp_min(SMALLEST)
    best, least = largest.clone(), torch.full_like(largest, torch.inf)
    for fraction in torch.linspace(0.1, 1.0, 46):
        size = (largest * fraction).unsqueeze(1)
        rate = (x * T / size).add(0.5).floor().clamp(0, T) / T
        error = (rate * size - x).square().mean(1)
        best = torch.where(error < least, size.squeeze(1), best)
        least = torch.minimum(error, least)
    return best.clamp_min(SMALLEST)


def _quantile(x: Tensor, fraction: float) -> Tensor:
    """Of each row of ``x`` (C, n), also where `torch.quantile` takes no more values."""
    x = x[:, :: x.shape[1] // LARGEST + 1]
    return torch.cat([torch.quantile(row, fraction, dim=1) for row in x.split(max(LARGEST // x.shape[1], 1))])


def _sampled(ann: Classifier, graph: AnnGraph, images: Tensor, batch: int = 100) -> Generator[Any, None, Sizes]:
    """Activations (C, n) of every neuron, at pixels drawn from each image; the draw is always the same."""
    kept: dict[str, list[Tensor]] = {name: [] for name in graph.neurons}
    images = images[:KEPT]
    each = KEPT // len(images)
    random = torch.Generator().manual_seed(0)

    def keep(name: str, output: Tensor) -> None:
        flat = output.flatten(2) if output.dim() > 2 else output.unsqueeze(2)
        pixels = torch.rand(len(flat), 1, flat.shape[2], generator=random).argsort(2)[:, :, :each]
        kept[name].append(flat.gather(2, pixels.expand(-1, flat.shape[1], -1)).transpose(0, 1).flatten(1))

    with activations(ann, graph.neurons, keep), torch.no_grad():
        for number, x in enumerate(images.split(batch)):
            ann(x)
            yield Progress("measure activations", min((number + 1) * batch, len(images)), len(images))
    return {name: torch.cat(parts, 1) for name, parts in kept.items()}


class activations:
    """Calls ``keep(name, output)`` for the output of each named layer of a graph's network."""

    def __init__(self, network: Any, names: list[str], keep: Any) -> None:
        layers = by_name(network)
        self.layers: list[tuple[str, nn.Module]] = [(name, layers[name]) for name in names]
        self.keep = keep

    def __enter__(self) -> None:
        def hook(name: str) -> Any:
            return lambda layer, inputs, output: self.keep(name, output)

        self.handles = [layer.register_forward_hook(hook(name)) for name, layer in self.layers]

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()
