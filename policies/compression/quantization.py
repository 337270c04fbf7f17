"""Eight-bit simulation: a trained network as integer hardware would compute it, to measure its effect.

Weights are quantized per output channel, to -127 … 127 times a scale. Inputs of synapses are quantized per tensor: to
0 … 255 if they are never negative, else to -128 … 127 (uniform quantization, Krishnamoorthi 2018). Sums, biases, norms
and membranes keep their precision, like accumulators, and so do products of activations (attention).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from snn4.policies.metering.synaptic_operations import SYNAPSES
from snn4.policies.modes import device, evaluating

Module = TypeVar("Module", bound=nn.Module)


def quantized(network: Module, inputs: Iterable[Tensor]) -> Module:
    """A copy of ``network`` in simulated int8, with ranges from ``inputs``, batches that are not used for testing."""
    duplicate = copy.deepcopy(network)
    layers = [layer for layer in duplicate.modules() if isinstance(layer, SYNAPSES)]
    ranges = {layer: Range() for layer in layers}
    handles = [layer.register_forward_pre_hook(ranges[layer].see) for layer in layers]
    with evaluating(duplicate):
        for x in inputs:
            duplicate(x.to(device(duplicate)))
        for layer, handle in zip(layers, handles, strict=True):
            handle.remove()
            layer.weight.copy_(rounded_weights(layer.weight))
            layer.register_forward_pre_hook(ranges[layer].round)
    return duplicate


def rounded_weights(weight: Tensor) -> Tensor:
    """``weight`` (outputs, …) in 255 levels per output, scaled by the largest absolute value of the output."""
    peak = weight.abs().flatten(1).amax(1).clamp(min=torch.finfo(weight.dtype).tiny)
    scale = (peak / 127).view(-1, *[1] * (weight.dim() - 1))
    return (weight / scale).round() * scale


def int8_bytes(network: nn.Module) -> int:
    """Bytes of the parameters of ``network``: one per weight of synapses, four per other parameter."""
    weights = {id(layer.weight) for layer in network.modules() if isinstance(layer, SYNAPSES)}
    return sum(p.numel() * (1 if id(p) in weights else 4) for p in network.parameters())


class Range:
    """The range of the inputs of a layer, and their rounding.

    Spikes, their sums and their averages are whole multiples of their smallest value. If these fit into the levels, the
    scale is that value, and the rounding loses nothing. Integer hardware would send the spikes themselves.
    """

    def __init__(self) -> None:
        self.low = self.high = 0.0
        self._unit: float | None = torch.inf

    def see(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """A forward pre-hook: extend the range by ``inputs``."""
        x = inputs[0].float()
        self.low, self.high = min(self.low, x.min().item()), max(self.high, x.max().item())
        if self._unit is not None:
            sizes = torch.cat((x.abs().flatten(), x.new_tensor([0.0 if self._unit == torch.inf else self._unit])))
            smallest = sizes.where(sizes > 0, torch.inf).min().item()
            self._unit = smallest if _multiples(sizes, smallest) else None

    @property
    def levels(self) -> tuple[int, int]:
        return (0, 255) if self.low >= 0 else (-128, 127)

    @property
    def scale(self) -> float:
        """The distance between two levels; 1 for a layer that saw only zeros, or no input."""
        peak, top = max(self.high, -self.low), self.levels[1]
        if self._unit is not None and peak <= self._unit * top:
            return self._unit if peak else 1.0
        return peak / top

    def round(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A forward pre-hook: the inputs that integer hardware would see."""
        return ((inputs[0] / self.scale).round().clamp(*self.levels) * self.scale, *inputs[1:])


def _multiples(x: Tensor, unit: float) -> bool:
    """Whether ``x`` consists of whole multiples of ``unit``, at most 255."""
    parts = x / unit
    return bool(parts.max() <= 255) and torch.allclose(parts, parts.round(), rtol=0, atol=1e-3)
