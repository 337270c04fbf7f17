"""Where a conversion loses: each layer's rates beside the ANN's activations, and what each layer costs in accuracy."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snn4.learners.conversion.conversion import Conversion
from snn4.learners.conversion.progress import Progress
from snn4.learners.conversion.sizes import activations
from snn4.policies.networks.graph import INPUT, Node, by_name


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer of neurons beside its ANN units, on the same images."""

    name: str
    correlation: float | None
    """Between rates and activations, over all images and units; None if one of them is constant."""
    error: float
    """Mean absolute difference, as a fraction of the mean activation."""
    silent: float
    """Fraction of channels that never spike although their ANN units are active."""
    saturated: float
    """Fraction of the active ANN units that go further than a spike in every step."""
    accuracy: float
    """Of the network that is converted up to this layer, and an ANN behind it."""
    rate: float
    """Spikes per neuron and step; negative ones are subtracted."""


@dataclass(frozen=True)
class Diagnosis:
    """The layers in order, and what they sum up to."""

    layers: tuple[LayerDiagnosis, ...]
    ann_accuracy: float
    accuracy_by_step: tuple[float, ...]
    """Of the spiking network."""
    spikes_by_step: tuple[float, ...]
    """Per image, up to each step."""
    images: int
    neuron: str = "if"
    """Kind of the neurons."""

    @property
    def reason(self) -> str:
        """A sentence on the layer that loses most."""
        before = [self.ann_accuracy, *(layer.accuracy for layer in self.layers)]
        losses = [a - b for a, b in itertools.pairwise(before)]
        worst = max(range(len(losses)), key=losses.__getitem__)
        layer, points = self.layers[worst], 100 * losses[worst]
        total = 100 * (self.ann_accuracy - self.layers[-1].accuracy)
        if points < 0.5:
            return f"no layer alone loses more than half a point; all together lose {total:.1f}"
        return f"{layer.name} loses most, {points:.1f} of {total:.1f} points: {_why(layer, self.neuron)}"


def _why(layer: LayerDiagnosis, neuron: str) -> str:
    if layer.saturated > 0.1:
        return (
            f"{layer.saturated:.0%} of its active units want more than one spike per step; choose a higher "
            f"percentile, or scale: channel"
        )
    if layer.silent > 0.2:
        return (
            f"{layer.silent:.0%} of its channels never spike; choose a lower percentile, scale: channel, or more steps"
        )
    if layer.correlation is not None and layer.correlation < 0.95:
        return (
            f"its spikes arrive unevenly (correlation with the ANN {layer.correlation:.2f}); choose "
            f"{'' if neuron == 'signed_if' else 'neuron: signed_if, burn_in, or '}more steps"
        )
    return "its rates have too few levels; choose more steps, or method: qcfs"


def diagnosed(conversion: Conversion, images: Tensor, labels: Tensor) -> Generator[Progress, None, Diagnosis]:
    """Compare a converted network with its ANN, with a report per layer.

    Args:
        conversion: of `convert`.
        images: (N, C, H, W), not those of the calibration.
        labels: (N,)
    """
    names = conversion.graph.neurons
    with torch.no_grad():
        rates, scores, spikes = _spiking(conversion, names, images)
        wanted: dict[str, Tensor] = {}
        with activations(conversion.ann, names, wanted.__setitem__):
            ann = _accuracy(conversion.ann(images), labels)
        rows = []
        for number, name in enumerate(names):
            accuracy = _accuracy(_from(conversion, names[: number + 1], rates, images), labels)
            rows.append(_row(name, rates[name], wanted[name], accuracy))
            yield Progress("compare layers", number + 1, len(names))
    steps = torch.arange(1, len(scores) + 1).view(-1, 1, 1)
    by_step = ((scores.cumsum(0) / steps).argmax(2) == labels).double().mean(1).tolist()
    spikes_by_step = tuple(spikes.cumsum(0).tolist())
    neuron = conversion.network.config.neuron.kind
    return Diagnosis(tuple(rows), ann, tuple(by_step), spikes_by_step, len(labels), neuron)


def _row(name: str, rate: Tensor, wanted: Tensor, accuracy: float) -> LayerDiagnosis:
    x, y = rate.flatten().double(), wanted.flatten().double()
    constant = float(x.std()) == 0 or float(y.std()) == 0
    channels = [dim for dim in range(rate.dim()) if dim != 1]
    silent = (rate.abs().amax(channels) == 0) & (wanted.amax(channels) > 1e-3)
    active = wanted > 0
    saturated = (wanted > 1) & active
    return LayerDiagnosis(
        name=name,
        correlation=None if constant else float(torch.corrcoef(torch.stack([x, y]))[0, 1]),
        error=float((x - y).abs().mean() / y.mean().clamp_min(1e-12)),
        silent=float(silent.double().mean()),
        saturated=float(saturated.sum() / active.sum().clamp_min(1)),
        accuracy=accuracy,
        rate=float(x.mean()),
    )


def _spiking(conversion: Conversion, names: list[str], images: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Mean rates (N, C, …) of each layer, scores (T, N, classes), and spikes per image at each step (T,)."""
    network = conversion.network
    burn_in, T = network.config.burn_in, network.config.T  # type: ignore[attr-defined]
    rates: dict[str, list[Tensor]] = {name: [] for name in names}
    spikes = torch.zeros(T)

    def keep(name: str, output: Any) -> None:
        trains = output[0]
        rates[name].append(trains[burn_in:].mean(0))
        spikes.add_(trains.abs().flatten(1).sum(1))

    with activations(network, names, keep):
        scores = torch.cat([network.run(x)[0] for x in images.split(25)], 1)
    return {name: torch.cat(parts) for name, parts in rates.items()}, scores, spikes / len(images)


def _from(conversion: Conversion, converted: list[str], rates: dict[str, Tensor], images: Tensor) -> Tensor:
    """Scores of a network whose first layers are the ``converted`` ones: the ANN continues from their rates."""
    nodes = conversion.ann.config.nodes  # type: ignore[attr-defined]
    layers = by_name(conversion.ann)
    values = {INPUT: images, **{name: rates[name] for name in converted}}
    for node in _needed(nodes, values):
        values[node.name] = layers[node.name](*(values[name] for name in node.inputs))
    return values[nodes[-1].name]


def _needed(nodes: Sequence[Node], known: Iterable[str]) -> list[Node]:
    """The nodes, in order, that the last one depends on, where ``known`` outputs need no computation."""
    needed = {nodes[-1].name}
    for node in reversed(nodes):
        if node.name in needed:
            needed |= set(node.inputs) - set(known)
    return [node for node in nodes if node.name in needed]


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).double().mean())
