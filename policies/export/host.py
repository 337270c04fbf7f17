"""What stays on the host of a chip: the layers before the first neurons, whose currents become biases, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.description import INPUT, Add, Conv, Dense, Flatten, Layer, Part, Pool, Rectify
from snn4.policies.export.integer import UNIT, Ints, convolve

Doubles = NDArray[np.float64]

LARGEST_BIAS = 4095
"""Of the mantissas, which have 13 bits."""


@dataclass(frozen=True)
class Host:
    """Layers in float, and the biases that carry their currents to the chip."""

    layers: tuple[Layer, ...]
    """All layers before the first neurons: `Neurons` are not among them."""
    scale: float
    """Units for a current of 1."""
    exponent: int
    """The neurons' ``bias_exp``."""

    def biases(self, signal: NDArray[Any]) -> Ints:
        """The mantissas (S, B, …) of the first neurons, for a signal (S, B, …)."""
        return self.mantissas(float_layers(self.layers, signal))

    def mantissas(self, currents: Doubles) -> Ints:
        """Currents as mantissas: rounded, halves to even, and clipped to the 13 bits of a bias."""
        units = np.rint(currents * (self.scale * UNIT / 2**self.exponent))
        return units.clip(-LARGEST_BIAS, LARGEST_BIAS).astype(np.int32)


def float_layers(layers: tuple[Layer, ...], signal: NDArray[Any]) -> Doubles:
    """The output (S, B, …) of ``layers`` for a signal (S, B, …), in float64: its rounding reaches no mantissa."""
    steps = signal.shape[:2]
    values = {INPUT: signal.astype(np.float64).reshape(-1, *signal.shape[2:])}
    last = INPUT
    for layer in layers:
        values[layer.name] = _output(layer.part, [values[name] for name in layer.inputs])
        last = layer.name
    return values[last].reshape(*steps, *values[last].shape[1:])


def _output(part: Part, inputs: list[Doubles]) -> Doubles:
    x = inputs[0]
    match part:
        case Dense():
            return x @ part.weight.T.astype(np.float64) + part.bias
        case Conv():
            weight = part.weight.astype(np.float64)
            y = convolve(x, weight, part.stride, part.padding, part.dilation, part.groups)
            return y + part.bias[:, None, None]
        case Pool():
            return _pooled(part, x)
        case Flatten():
            return x.reshape(len(x), -1)
        case Rectify():
            return np.maximum(x, 0)
        case Add():
            return sum(inputs[1:], inputs[0])
    raise AssertionError(part)


def _pooled(pool: Pool, x: Doubles) -> Doubles:
    edge = 0.0 if pool.kind == "average" else -np.inf
    (rows, columns), (down, right) = pool.padding, pool.stride
    x = np.pad(x, ((0, 0), (0, 0), (rows, rows), (columns, columns)), constant_values=edge)
    windows = np.lib.stride_tricks.sliding_window_view(x, pool.size, (2, 3))[:, :, ::down, ::right]
    return windows.mean((4, 5)) if pool.kind == "average" else windows.max((4, 5))
