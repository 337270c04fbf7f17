"""The activity of a network for one input: spikes of some neurons in each layer, and their map in the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from snn4.agent.evaluation.accuracy import Recognizer
from snn4.policies.modes import evaluating
from snn4.policies.neurons import Neuron


@dataclass(frozen=True, eq=False)
class LayerActivity:
    """One layer of neurons that spike."""

    name: str
    n_neurons: int
    spikes: Tensor
    """(T, neurons): spikes of some neurons, evenly spread over the layer."""
    rate: float
    """Spikes per neuron and step, of the whole layer."""
    map: Tensor | None
    """(H, W): spikes per step, mean over channels; None for a layer without an image."""


@dataclass(frozen=True, eq=False)
class Activity:
    """One input, and the activity it causes."""

    picture: Tensor
    """(H, W): mean of the input over channels, and over bins if it has any."""
    label: int
    scores: Tensor
    """(T, n_classes): at each step."""
    layers: tuple[LayerActivity, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for a page; pictures have at most 64 x 64 pixels."""
        layers = [
            {
                "name": layer.name, "n_neurons": layer.n_neurons, "rate": layer.rate,
                "spikes": layer.spikes.int().tolist(), "map": None if layer.map is None else _small(layer.map),
            }
            for layer in self.layers
        ]  # fmt: skip
        prediction = int(self.scores.mean(0).argmax())
        return {"label": self.label, "prediction": prediction, "picture": _small(self.picture), "layers": layers}


def watch(recognizer: Recognizer, x: Tensor, label: int, neurons: int = 40) -> Activity:
    """The spikes of at most ``neurons`` per layer for one input, (1, C, H, W) or (T, 1, C, H, W)."""
    names = {module: name.removeprefix("network.") for name, module in recognizer.named_modules()}
    layers: list[LayerActivity] = []

    def note(layer: nn.Module, inputs: tuple[Any, ...], output: tuple[Tensor, Any]) -> None:
        layers.append(_layer(names[layer], output[0], neurons))

    spiking = [layer for layer in recognizer.modules() if isinstance(layer, Neuron) and layer.config.spikes]
    handles = [layer.register_forward_hook(note) for layer in spiking]
    try:
        with evaluating(recognizer):
            scores, _ = recognizer(x.to(next(recognizer.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    picture = x.float().flatten(0, -3).mean(0).cpu()
    return Activity(picture, label, scores[:, 0].float().cpu(), tuple(layers))


def _layer(name: str, spikes: Tensor, neurons: int) -> LayerActivity:
    """The activity of one layer, from its spikes (T, 1, …)."""
    spikes = spikes.detach().float().cpu()
    flat = spikes.flatten(1)
    chosen = torch.linspace(0, flat.shape[1] - 1, min(neurons, flat.shape[1])).round().long()
    image = spikes.mean((0, 1, 2)) if spikes.dim() == 5 else None
    return LayerActivity(name, flat.shape[1], flat[:, chosen], flat.mean().item(), image)


def _small(picture: Tensor) -> list[list[float]]:
    """A picture (H, W) with four digits; large ones are averaged to 64 x 64."""
    if max(picture.shape) > 64:
        picture = adaptive_avg_pool2d(picture[None, None], 64)[0, 0]
    return [[float(f"{value:.4g}") for value in row] for row in picture.tolist()]
