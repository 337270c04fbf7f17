"""Weights of few bits, and the simulation of a network in eight bits, as integer hardware would compute it.

A quantized weight is a whole number from -(2^(bits - 1) - 1) to 2^(bits - 1) - 1 times a scale: symmetric, uniform
quantization (Krishnamoorthi 2018). It is stored as float32, on its grid.

**In simulated int8**, inputs of synapses are quantized as well, per tensor: to 0 … 255 if they are never negative, else
to -128 … 127. Sums, biases, norms and membranes keep their precision, like accumulators, and so do products of
activations (attention).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from snn4.policies.metering.synaptic_operations import SYNAPSES
from snn4.policies.modes import device, evaluating

Module = TypeVar("Module", bound=nn.Module)

CLIPS = tuple(1 - 0.05 * k for k in range(18))
"""Ranges that are tried below eight bits, as fractions of the largest weight: weights beyond a range are cut."""


@dataclass(frozen=True)
class Grid:
    """The values that weights may have."""

    bits: int = 8
    scale: Literal["channel", "layer"] = "channel"
    """One scale per output, or one for all."""
    power_of_two: bool = False

    @property
    def top(self) -> int:
        """The largest whole number."""
        return int(2 ** (self.bits - 1)) - 1

    def rounded(self, weight: Tensor) -> Tensor:
        """``weight`` (outputs, …) on the grid of its own `scales`."""
        return self.round(weight, self.scales(weight))

    @torch.no_grad()
    def round(self, weight: Tensor, scales: Tensor) -> Tensor:
        """``weight`` (outputs, …) on the grid with these ``scales``."""
        scale = scales.view(-1, *[1] * (weight.dim() - 1))
        return (weight / scale).round().clamp(-self.top, self.top) * scale

    @torch.no_grad()
    def scales(self, weight: Tensor) -> Tensor:
        """The scale of each output (outputs,), or of all (1,), for ``weight`` (outputs, …).

        With eight bits, the largest weight is the end of the range. With fewer, the range is the one with the smallest
        squared error.
        """
        rows = weight.reshape(len(weight) if self.scale == "channel" else 1, -1)
        peak = rows.abs().amax(1).clamp(min=torch.finfo(weight.dtype).tiny)
        best, smallest = peak, torch.full_like(peak, torch.inf)
        for scales in self._candidates(peak / self.top):
            error = (self.round(rows, scales) - rows).square().sum(1)
            best = torch.where(error < smallest, scales, best)
            smallest = torch.minimum(error, smallest)
        return best

    def _candidates(self, whole: Tensor) -> Iterator[Tensor]:
        """Scales to try; ``whole`` ones reach the largest weight."""
        if self.power_of_two:
            upper = whole.log2().ceil()
            return ((upper - k).exp2() for k in range(4))
        return (whole * clip for clip in (CLIPS if self.bits < 8 else CLIPS[:1]))


INT8 = Grid()
"""The weights of simulated int8."""


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
            layer.weight.copy_(INT8.rounded(layer.weight))
            layer.register_forward_pre_hook(ranges[layer].round)
    return duplicate


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
