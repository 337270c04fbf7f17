"""From float to Loihi's integers: scales, thresholds, decays and biases of every layer, and checks of their ranges."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.description import Conv, Dense, Description, Floats, Layer, Neurons, NotExportable
from snn4.policies.export.host import LARGEST_BIAS, Host, float_layers
from snn4.policies.export.integer import UNIT, IntegerConv, IntegerDense, IntegerLayer, IntegerNeurons, Ints, simulate
from snn4.policies.export.integer_network import IntegerNetwork, Readout
from snn4.policies.export.merging import merged

LARGEST_THRESHOLD = 2**17 - 1
LARGEST_EXPONENT = 7
LARGEST_CURRENT = 2**17
"""Of one step, in units: u wraps beyond it."""
GRID = 4096
"""Decays are multiples of 1 / 4096."""
BITS = (8, 6, 4, 2)
HOST_MARGIN = 1.5
"""Largest current of the host that a bias can carry, by the largest one that calibration has seen."""
READOUT_MARGIN = 0.45
"""Share of the readout's range that calibration fills: 0.9 of half of it."""
MIXED = 9
"""Bits of Loihi's largest weights: 8, and a sign."""


class _Segment(NamedTuple):
    """Layers without neurons, and the neurons that follow; None behind the last ones."""

    layers: tuple[Layer, ...]
    shape: tuple[int, ...]
    """Of its input."""
    neurons: Layer | None


def integer_network(description: Description, calibration: NDArray[Any], bits: int = 8) -> IntegerNetwork:
    """The network of ``description`` in Loihi's integers.

    A weight W becomes ``W * s``, rounded to a multiple of a power of two, and the threshold becomes ``s`` times itself,
    exactly. Average pooling becomes a part of the synapses before or behind it.

    Args:
        calibration: inputs (B, …), typical ones. They show how large currents of the host and scores become.
        bits: of a weight, with its sign: one of `BITS`.

    Raises:
        NotExportable: for what Loihi cannot compute, and for values out of its ranges; the message names the layer.
    """
    if bits not in BITS:
        raise NotExportable(f"bits: got {bits}, allowed are {', '.join(map(str, BITS))}")
    *segments, last = _segments(description)
    require_loihi(description)
    signal = _encoded(description, calibration)
    layers, scales, host = [], [], None
    for number, segment in enumerate(segments):
        if number == 0 and description.coding.kind == "direct":
            host, layer, scale = _driven(segment, signal)
        else:
            layer, scale = _layer(segment, bits)
        layers.append(layer)
        scales.append(scale)
    messages, biases = (None, host.biases(signal)) if host else (signal.astype(np.int32), None)
    spikes = simulate(layers, description.T, messages, biases)[-1].spikes
    readout, layer, scale = _readout(last, description.readout, spikes, bits)
    return IntegerNetwork(
        (*layers, layer), readout, (*scales, scale), description.T, host, description.input_shape, bits,
        description.encode, description.coding.kind, description.actions, description.classes, description.mean,
        description.std,
    )  # fmt: skip


def require_loihi(description: Description) -> None:
    """Refuse neurons that Loihi's cannot copy step by step.

    Raises:
        NotExportable: the message names the layer and the nearest neuron that works.
    """
    for layer in description.neurons():
        assert isinstance(layer.part, Neurons)
        c = layer.part.config
        wrong = {
            "kind": (c.kind, "lif, plif, if", c.kind in ("lif", "plif", "if")),
            "reset": (c.reset, "hard", c.reset == "hard"),
            "v_reset": (c.v_reset, "0", c.v_reset == 0),
            "v_leak": (c.v_leak, "0", c.v_leak == 0),
            "tau_mem": ("one for each neuron", "one for the layer", layer.part.decay.size == 1),
        }
        for field, (got, allowed, works) in wrong.items():
            if not works:
                raise NotExportable(
                    f"{layer.name}: got neurons with {field} {got}, allowed is {allowed}; train with neuron: loihi"
                )


def _segments(description: Description) -> list[_Segment]:
    segments, layers = list[_Segment](), list[Layer]()
    shape, before = description.signal_shape, None
    for layer in description.layers:
        if segments and before is not None and layer.inputs != (before.name,):
            got = f"inputs from {', '.join(layer.inputs)}"
            raise NotExportable(f"{layer.name}: got {got}, allowed is a chain; take a network without residual blocks")
        before = layer
        if isinstance(layer.part, Neurons):
            segments.append(_Segment(tuple(layers), shape, layer))
            shape, layers = layer.shape, []
        else:
            layers.append(layer)
    if not segments:
        raise NotExportable("network: got no spiking neurons, allowed is one layer or more")
    return [*segments, _Segment(tuple(layers), shape, None)]


def _encoded(description: Description, inputs: NDArray[Any]) -> NDArray[Any]:
    return description.encode(np.ascontiguousarray(inputs, np.float32))


def _driven(segment: _Segment, signal: NDArray[Any]) -> tuple[Host, IntegerLayer, float]:
    """The first neurons, driven by biases that the host computes."""
    neurons, layer, theta, gain = _neurons(segment)
    largest = float(np.abs(float_layers(segment.layers, signal)).max()) * abs(gain)
    most = LARGEST_BIAS / UNIT / max(HOST_MARGIN * largest, 1e-9)  # units for 1 with exponent 0
    scale = _threshold_scale(layer.name, min(most * 2**LARGEST_EXPONENT, LARGEST_THRESHOLD / theta), theta)
    exponent = max(0, math.ceil(math.log2(scale / most)))
    vth = round(scale * theta)
    return (
        Host(segment.layers, scale * gain, exponent),
        IntegerLayer(layer.name, None, neurons._replace(vth=vth, bias_exp=exponent)),
        scale,
    )


def _layer(segment: _Segment, bits: int) -> tuple[IntegerLayer, float]:
    neurons, layer, theta, gain = _neurons(segment)
    part = merged(segment.layers, segment.shape, layer.name)
    part = part._replace(weight=part.weight * gain, bias=part.bias * gain)
    largest = float(np.abs(part.weight).max())
    levels = 2 ** (bits - 1) - 1
    scale = min(levels * 2 ** (MIXED - bits) / max(largest, 1e-9), LARGEST_THRESHOLD / theta)
    scale = _threshold_scale(layer.name, scale, theta)
    neurons = neurons._replace(vth=round(scale * theta))
    return _with_synapses(layer.name, part, scale, bits, neurons), scale


def _readout(
    segment: _Segment, weights: Floats, spikes: NDArray[np.bool_], bits: int
) -> tuple[Readout, IntegerLayer, float]:
    """Neurons that integrate the scores and never spike, for the spikes (T, B, …) of the layer before."""
    name = segment.layers[-1].name if segment.layers else "readout"
    start, decay = _trace_of(weights)
    part = merged(segment.layers, segment.shape, name)
    if not isinstance(part, Dense):
        raise NotExportable(f"{name}: got scores of images, allowed is a dense layer at the end")
    v, largest = 0.0, 0.0
    for step in spikes[start:]:
        v = decay * v + step.reshape(len(step), -1) @ part.weight.T.astype(np.float64) + part.bias
        largest = max(largest, float(np.abs(v).max()))
    levels = 2 ** (bits - 1) - 1
    scale = min(
        levels * 2 ** (MIXED - bits) / max(float(np.abs(part.weight).max()), 1e-9),
        READOUT_MARGIN * LARGEST_THRESHOLD / max(largest, 1e-9),
    )
    neurons = IntegerNeurons(part.bias.shape, LARGEST_THRESHOLD, dv=round(GRID * (1 - decay)))
    layer = _with_synapses(name, part, scale, bits, neurons)
    return Readout(float(weights[-1]) / (UNIT * scale), start), layer, scale


def _trace_of(weights: Floats) -> tuple[int, float]:
    """First step that counts, and decay of the trace whose last value is the weighted sum of all steps."""
    start = int(np.flatnonzero(weights)[0])
    counted = weights[start:].astype(np.float64)
    decay = 1.0 if len(counted) == 1 else float((counted[0] / counted[-1]) ** (1 / (len(counted) - 1)))
    grid = 1 - round(GRID * (1 - decay)) / GRID
    trace = grid ** np.arange(len(counted) - 1, -1, -1) * counted[-1]
    if not (0 <= grid <= 1 and np.allclose(trace, counted, rtol=0.02)):
        raise NotExportable("readout: got learned weights of the steps, allowed are rate and membrane; train with rate")
    return start, grid


def _neurons(segment: _Segment) -> tuple[IntegerNeurons, Layer, float, float]:
    """Neurons without threshold yet, their description, the threshold in float and the gain of their currents."""
    layer = segment.neurons
    assert layer is not None
    assert isinstance(layer.part, Neurons)
    config, decay = layer.part.config, float(layer.part.decay.item())
    gain = 1.0 if config.r is None else config.r * (1.0 if config.kind == "if" else 1 - decay)
    return IntegerNeurons(layer.shape, 0, dv=round(GRID * (1 - decay))), layer, config.v_threshold, gain


def _threshold_scale(name: str, scale: float, theta: float) -> float:
    """The largest scale up to ``scale`` by which the threshold becomes a whole number."""
    vth = math.floor(scale * theta * (1 + 1e-9))
    if vth < 1:
        raise NotExportable(
            f"{name}: got currents of more than {LARGEST_THRESHOLD} thresholds in one step, allowed are fewer; train "
            f"with a larger v_threshold"
        )
    return vth / theta


def _with_synapses(name: str, part: Dense | Conv, scale: float, bits: int, neurons: IntegerNeurons) -> IntegerLayer:
    weight = rounded(part.weight, scale, bits)
    sums = np.maximum(weight, 0), np.maximum(-weight, 0)
    largest = int(max(sign.reshape(len(weight), -1).sum(1).max() for sign in sums))
    if largest > LARGEST_CURRENT:
        raise NotExportable(
            f"{name}: got weights that sum to {largest} units in one neuron, allowed are {LARGEST_CURRENT}, beyond "
            f"which Loihi's current wraps; make the layer before it smaller, or prune it"
        )
    mantissa, exponent = _bias(name, part.bias * (scale * UNIT))
    if isinstance(part, Conv):
        mantissa = mantissa[:, None, None]
        synapses: Any = IntegerConv(weight, part.stride, part.padding, part.dilation, part.groups)
    else:
        synapses = IntegerDense(weight, bits=8)
    return IntegerLayer(name, synapses, neurons._replace(bias_mant=mantissa, bias_exp=exponent))


def rounded(weight: Floats, scale: float, bits: int) -> Ints:
    """``weight * scale`` in multiples of a step, the smallest power of two from 2 on with which ``bits`` suffice."""
    levels = 2 ** (bits - 1) - 1
    units = weight.astype(np.float64) * scale
    step = 2.0 ** max(1, math.ceil(math.log2(max(float(np.abs(units).max()), 1e-9) / levels) - 1e-6))
    return (step * np.rint(units / step).clip(-levels, levels)).astype(np.int32)


def _bias(name: str, bias: NDArray[Any]) -> tuple[Ints, int]:
    """Mantissas and exponent of a bias, given as it adds to the membrane."""
    largest = float(np.abs(bias).max())
    exponent = max(0, math.ceil(math.log2(max(largest, 1.0) / LARGEST_BIAS)))
    if exponent > LARGEST_EXPONENT:
        raise NotExportable(
            f"{name}: got a bias of {largest:.0f}, allowed is {LARGEST_BIAS * 2**LARGEST_EXPONENT}, which 13 bits and "
            f"an exponent hold; train with weight_decay"
        )
    return np.rint(bias / 2**exponent).astype(np.int32), exponent
