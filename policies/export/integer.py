"""Loihi's integers in NumPy: its synapses and neurons, as lava-nc 0.10.0's bit-accurate models compute them.

Weights, thresholds and the currents of synapses are in *units*; membranes, biases and u hold 6 bits below a unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]
"""Whole numbers, of any integer dtype."""

UNIT = 64
"""One unit in membranes, biases and u."""
LARGEST_STATE = 2**23
"""u wraps beyond it, v saturates one below it."""

Sign = Literal["inferred", "mixed", "excitatory", "inhibitory"]


class IntegerDense(NamedTuple):
    """Synapses between all neurons of two layers (Lava's ``Dense``); images are flattened, channels first."""

    weight: Ints
    """(n_out, n_in); the chip clips it and drops its lowest bits: see `stored`."""
    exponent: int = 0
    """The sum of the weights is multiplied by 2^exponent and rounded down (``weight_exp``)."""
    bits: int = 8
    """Of a stored weight (``num_weight_bits``)."""
    sign: Sign = "inferred"
    """Signs that the weights may have; inferred takes them from the weights (``sign_mode``)."""
    message_bits: int = 0
    """0 for spikes: every value but 0 counts as 1. Else values count as they are (``num_message_bits``)."""

    def stored(self) -> Ints:
        """The weights (n_out, n_in) that the chip multiplies by: clipped to 8 bits, without their lowest bits."""
        weight, sign = self.weight.astype(np.int64), self.sign
        if sign == "inferred":
            sign = "excitatory" if weight.min() >= 0 else "inhibitory" if weight.max() <= 0 else "mixed"
        if sign == "inhibitory":
            return -_truncated(np.clip(-weight, 0, 255), 8 - self.bits)
        if sign == "excitatory":
            return _truncated(np.clip(weight, 0, 255), 8 - self.bits)
        return _truncated(np.clip(weight, -256, 255), 9 - self.bits)

    def currents(self, messages: Ints) -> Ints:
        """Currents (T, B, n_out) in units, for messages (T, B, …)."""
        x = _received(messages, self.message_bits).reshape(*messages.shape[:2], -1)
        weight = self.stored()
        dtype = _exact(np.abs(weight).sum(1), x)
        sums = (x.astype(dtype) @ weight.T.astype(dtype)).astype(np.int64)
        return sums << self.exponent if self.exponent > 0 else sums >> -self.exponent


class IntegerConv(NamedTuple):
    """A convolution with zeros around its input (Lava's ``Conv``, which neither clips nor shortens weights)."""

    weight: Ints
    """(C_out, C_in / groups, kH, kW), not flipped, as in torch; Lava's is flipped."""
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    message_bits: int = 0
    """See `IntegerDense.message_bits`."""

    def currents(self, messages: Ints) -> Ints:
        """Currents (T, B, C_out, H', W') in units, for messages (T, B, C_in, H, W)."""
        x = _received(messages, self.message_bits).reshape(-1, *messages.shape[2:])
        dtype = _exact(np.abs(self.weight.astype(np.int64)).sum((1, 2, 3)), x)
        y = convolve(x.astype(dtype), self.weight.astype(dtype), self.stride, self.padding, self.dilation, self.groups)
        sums = y.astype(np.int64).reshape(*messages.shape[:2], *y.shape[1:])
        return (sums + LARGEST_STATE) % (2 * LARGEST_STATE) - LARGEST_STATE  # Lava's Conv has 24 bits


class IntegerNeurons(NamedTuple):
    """A layer of Loihi's neurons (Lava's ``LIF``, and ``LIFReset`` with a ``reset_interval``). At every step:

    u = trunc(u * (4095 - du) / 4096) + 64 * current                 wraps once beyond +-2^23
    v = trunc(v * (4096 - dv) / 4096) + u + bias_mant * 2^bias_exp   saturates at +-(2^23 - 1)
    s = v > 64 * vth;  v = 0 where s
    """

    shape: tuple[int, ...]
    """(n,) or (C, H, W)."""
    vth: int
    """Threshold in units, 0 to 131071."""
    dv: int = 0
    """Decay of the membrane, in 4096ths."""
    du: int = 4095
    """Decay of the current, in 4096ths, minus 1; 4095 forgets it at once."""
    bias_mant: Ints = np.zeros(1, np.int32)
    """-4096 to 4095, of a shape that broadcasts to ``shape``."""
    bias_exp: int = 0
    """0 to 7; Lava also takes negative ones, which shift to the right."""
    reset_interval: int = 0
    """u and v become 0 before steps t (from 1) with t % reset_interval == reset_offset % reset_interval; 0: never."""
    reset_offset: int = 0

    def run(self, steps: int, currents: Ints | None, bias_mant: Ints | None = None) -> Trace:
        """Run over time from rest.

        Args:
            currents: (steps, B, …) in units; None for neurons without synapses.
            bias_mant: mantissas (steps or 1, B, …) in place of the layer's own.
        """
        bias = np.broadcast_to(self.bias_mant, self.shape)[None, None] if bias_mant is None else bias_mant
        bias = bias.astype(np.int64)
        bias = bias << self.bias_exp if self.bias_exp >= 0 else bias >> -self.bias_exp
        batch = bias.shape[1] if currents is None else currents.shape[1]
        u, v = np.zeros((2, batch, *self.shape), np.int64)
        spikes = np.empty((steps, batch, *self.shape), bool)
        us, vs = np.empty((2, *spikes.shape), np.int32)
        for t in range(steps):
            if self.reset_interval and (t + 1 - self.reset_offset) % self.reset_interval == 0:
                u[:], v[:] = 0, 0
            u = _decayed(u, self.du + 1)
            if currents is not None:
                u = _wrapped(u + UNIT * currents[t])
            v = _decayed(v, self.dv) + u + bias[t if len(bias) > 1 else 0]
            v = v.clip(1 - LARGEST_STATE, LARGEST_STATE - 1)
            spikes[t] = v > UNIT * self.vth
            v[spikes[t]] = 0
            us[t], vs[t] = u, v
        return Trace(spikes, us, vs)


class Trace(NamedTuple):
    """What a layer of neurons did, each (T, B, …)."""

    spikes: NDArray[np.bool_]
    u: NDArray[np.int32]
    v: NDArray[np.int32]
    """After the reset."""


class IntegerLayer(NamedTuple):
    """Neurons, and the synapses through which they receive spikes."""

    name: str
    synapses: IntegerDense | IntegerConv | None
    """None for neurons that only biases drive."""
    neurons: IntegerNeurons


def simulate(
    layers: Sequence[IntegerLayer], steps: int, messages: Ints | None = None, bias_mant: Ints | None = None,
    delays: bool = False,
) -> list[Trace]:  # fmt: skip
    """What every layer of a chain does from rest, step by step.

    Args:
        messages: input (steps, B, …) of the first layer's synapses; None if it has none.
        bias_mant: mantissas (steps or 1, B, …) of the first layer, in place of its own.
        delays: whether synapses deliver one step later, as Lava's do, instead of at once. In a chain, a layer after k
            synapses then does at step t + k what it does at step t without delays, if it rests until step k.
    """
    traces: list[Trace] = []
    for layer in layers:
        currents = None
        if layer.synapses is not None:
            if messages is None:
                raise ValueError(f"{layer.name}: got no messages, allowed are (steps, B, …) for a layer with synapses")
            currents = layer.synapses.currents(messages)
            if delays:
                currents = np.concatenate([np.zeros_like(currents[:1]), currents[:-1]])
        trace = layer.neurons.run(steps, currents, None if traces else bias_mant)
        traces.append(trace)
        messages = trace.spikes
    return traces


def convolve(
    x: NDArray[Any], weight: NDArray[Any], stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int],
    groups: int,
) -> NDArray[Any]:  # fmt: skip
    """The convolution of torch: x (N, C_in, H, W), weight (C_out, C_in / groups, kH, kW) -> (N, C_out, H', W')."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    kernel = weight.shape[2:]
    size = [(x.shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)]
    w = weight.reshape(groups, -1, *weight.shape[1:])
    y = np.zeros((len(x), groups, w.shape[1], size[0] * size[1]), x.dtype)
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            top, left = row * dilation[0], column * dilation[1]
            seen = x[:, :, top :: stride[0], left :: stride[1]][:, :, : size[0], : size[1]]
            y += w[..., row, column] @ seen.reshape(len(x), groups, w.shape[2], -1)
    return y.reshape(len(x), len(weight), *size)


def _received(messages: Ints, message_bits: int) -> Ints:
    return messages if message_bits else messages != 0


def _truncated(weight: Ints, bits: int) -> Ints:
    return weight >> bits << bits


def _exact(largest: Ints, x: Ints) -> type[np.floating[Any]]:
    """The float in which sums of at most ``largest`` times the largest value of ``x`` are exact, for BLAS."""
    bound = int(largest.max()) * max(int(np.abs(x.astype(np.int64)).max(initial=0)) if x.dtype != bool else 1, 1)
    return np.float32 if bound < 2**24 else np.float64


def _decayed(x: Ints, decay: int) -> Ints:
    """x * (4096 - decay) / 4096, rounded towards zero."""
    if decay in (0, 4096):
        return np.zeros_like(x) if decay else x
    return np.sign(x) * (np.abs(x) * (4096 - decay) >> 12)  # type: ignore[no-any-return]


def _wrapped(u: Ints) -> Ints:
    """u, once around beyond the ends of its range (-2^23, 2^23]."""
    around = 2 * LARGEST_STATE
    return np.where(u > LARGEST_STATE, u - around, np.where(u <= -LARGEST_STATE, u + around, u))
