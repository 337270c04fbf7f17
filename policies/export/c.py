"""Plain C: an integer network as one file of C99, with its weights, for microcontrollers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export import c_functions as functions
from snn4.policies.export.description import Conv, Dense, NotExportable
from snn4.policies.export.integer import UNIT, IntegerConv, IntegerDense, IntegerLayer
from snn4.policies.export.integer_network import IntegerNetwork
from snn4.policies.export.merging import merged
from snn4.policies.export.normalization import Normalization

FORGOTTEN = 4095
"""The ``du`` of neurons that forget a current at once."""
WIDTH = 110
"""Characters of a line of numbers."""


class Sizes(NamedTuple):
    """Bytes that an exported network needs, without its code (about 2 kB) and the stack."""

    flash: int
    ram: int


def c_source(network: IntegerNetwork, name: str, normalization: Normalization | None = None) -> str:
    """The C file of ``network``: constants, and the functions NAME_reset, NAME_observe, NAME_step and NAME_decide.

    Args:
        name: what all names in the file begin with, after `c_name`.
        normalization: of the inputs.

    Raises:
        NotExportable: for codes that make spikes, and for a host with more than one linear map.
    """
    return _File(network, normalization).text(c_name(name))


def c_name(name: str) -> str:
    """``name`` as an identifier of C: lower case, other characters become underscores."""
    plain = re.sub(r"\W", "_", name.lower(), flags=re.ASCII)
    return plain if re.match("[a-z]", plain) else f"snn_{plain}"


def c_sizes(network: IntegerNetwork, normalization: Normalization | None = None) -> Sizes:
    """Bytes of the arrays in the C file of ``network``."""
    file = _File(network, normalization)
    return Sizes(file.flash, file.ram)


class _Stored(NamedTuple):
    """Synapses with their weights as C stores them."""

    weight: NDArray[Any]
    """(n_in, n_out), or (C_out, C_in / groups, kH, kW)."""
    scale: int
    """By which each is multiplied; a power of two."""


class _File:
    """The text of a C file, and how many bytes its arrays take."""

    def __init__(self, network: IntegerNetwork, normalization: Normalization | None) -> None:
        if network.host is None:
            raise NotExportable(f"coding: got {network.coding}, allowed is direct; train with coding direct")
        self.network, self.normalization, self.host = network, normalization, network.host
        self.drive = merged(network.host.layers, network.input_shape, "host")
        self.stored = [_stored(layer) for layer in network.layers]
        largest = max((int(np.abs(s.weight).max(initial=0)) for s in self.stored if s is not None), default=0)
        self.weight_type = "int8_t" if largest <= 127 else "int16_t"
        self.flash = self.ram = 0
        self.arrays: list[str] = []
        self._constants()
        self._variables()

    def text(self, name: str) -> str:
        parts = [*self._defines(), *self.arrays, *self._functions()]
        text = re.sub("NAME(?=_[A-Z])", name.upper(), "\n".join([*self._about(), *parts]))
        return re.sub("NAME", name, text)

    def _about(self) -> Iterator[str]:
        n, continuous = self.network, _is_continuous(self.network)
        needs = "math.h" if continuous and n.actions is not None and n.actions.squashed else ""
        c99 = "C99, and tanh of the C library" if needs else "C99 alone"
        sizes = [math.prod(layer.neurons.shape) for layer in n.layers]
        out, call = ("action", "") if continuous else ("scores", "int number = ")
        yield f"""\
/* NAME: a spiking network in integers, exported by snn4-agent.
 *
 *     float observation[NAME_INPUTS];  ({" x ".join(map(str, n.input_shape))} values)
 *     float {out}[NAME_OUTPUTS];
 *     {call}NAME_decide(observation, {out});
 *
 * A decision starts from rest: NAME_decide calls NAME_reset, NAME_observe, and NAME_step {n.T} times.
 * Neurons of each layer: {", ".join(map(str, sizes))}; the last ones do not spike, their membranes are the scores.
 * Weights have {n.bits} bits. The arrays take {self.flash:,} bytes of flash and {self.ram:,} bytes of RAM.
 * The file needs {c99}. All variables are static: it holds one network, for one thread.
 */"""
        yield "#include <stdint.h>\n" + (f"#include <{needs}>\n" if needs else "")

    def _defines(self) -> Iterator[str]:
        n, host = self.network, self.host
        names = {
            "INPUTS": math.prod(n.input_shape),
            "OUTPUTS": math.prod(n.layers[-1].neurons.shape),
            "STEPS": n.T,
            "DRIVEN": math.prod(n.layers[0].neurons.shape),
            "HOST_FACTOR": repr(host.scale * UNIT / 2**host.exponent),
            "FACTOR": repr(n.readout.factor),
            "READOUT": f"NAME_v{len(n.layers) - 1}",
        }
        if n.readout.start:
            names["START"] = n.readout.start
        if self.normalization is not None:
            names["SHARED"] = math.prod(n.input_shape) // self.normalization.mean.size
            if self.normalization.clip is not None:
                names["LIMIT"] = repr(self.normalization.clip)
        yield "\n".join(f"#define NAME_{key} {value}" for key, value in names.items())
        yield """
/* Numbers of the first layer, which is not in integers. float is faster where the processor has no double; a current
 * can then differ in its last of 13 bits. */
#ifndef NAME_REAL
#define NAME_REAL double
#endif
typedef NAME_REAL NAME_real;"""
        yield f"typedef {self.weight_type} NAME_weight;\n"
        if isinstance(self.drive, Conv) or any(isinstance(layer.synapses, IntegerConv) for layer in n.layers):
            yield functions.WINDOWS

    def _constants(self) -> None:
        if self.normalization is not None:
            self._array("const double NAME_mean", self.normalization.mean.ravel(), 8)
            self._array("const double NAME_std", self.normalization.std.ravel(), 8)
        self._array("const float NAME_host_weights", self.drive.weight.ravel(), 4)
        self._array("const float NAME_host_bias", self.drive.bias, 4)
        if isinstance(self.drive, Conv):
            shapes = self.network.input_shape, self.network.layers[0].neurons.shape
            self.arrays.append(_windows("NAME_host_windows", self.drive, *shapes))
        before: tuple[int, ...] = ()
        for number, layer in enumerate(self.network.layers):
            stored, shape = self.stored[number], layer.neurons.shape
            if stored is not None:
                bytes_each = 1 if self.weight_type == "int8_t" else 2
                self._array(f"const NAME_weight NAME_w{number}", stored.weight.ravel(), bytes_each)
                self._array(f"const int16_t NAME_b{number}", layer.neurons.bias_mant.ravel(), 2)
            if isinstance(layer.synapses, IntegerConv):
                self.arrays.append(_windows(f"NAME_c{number}", layer.synapses, before, shape))
            before = shape
        if _is_continuous(self.network):
            for bound in ("low", "high"):
                values = np.array(getattr(self.network.actions, bound), np.float32)
                self._array(f"const float NAME_{bound}", values, 4)

    def _array(self, declaration: str, values: NDArray[Any], bytes_each: int) -> None:
        self.flash += values.size * bytes_each
        self.arrays.append(f"static {declaration}[{values.size}] = {{\n{_wrapped(values)}\n}};")

    def _variables(self) -> None:
        layers = self.network.layers
        sizes = [math.prod(layer.neurons.shape) for layer in layers]
        lines = [f"static int16_t NAME_observed[{sizes[0]}];  /* currents of the observation */"]
        for number, size in enumerate(sizes):
            lines += [f"static int32_t NAME_v{number}[{size}];  /* membranes of {layers[number].name} */"]
            lines += [f"static uint8_t NAME_s{number}[{size}];  /* their spikes in the last step */"]
        lines += [f"static int32_t NAME_current[{max(sizes)}];  /* of one layer */\n"]
        self.ram = 2 * sizes[0] + 5 * sum(sizes) + 4 * max(sizes)
        self.ram += 4 * math.prod(self.network.input_shape) if self.normalization is not None else 0
        self.arrays += lines

    def _functions(self) -> Iterator[str]:
        layers, actions = self.network.layers, self.network.actions
        yield functions.ROUND
        yield functions.NEURONS
        if any(isinstance(layer.synapses, IntegerDense) for layer in layers):
            yield functions.DENSE
        if any(isinstance(layer.synapses, IntegerConv) for layer in layers):
            yield functions.CONV
        yield functions.HOST_DENSE if isinstance(self.drive, Dense) else functions.HOST_CONV
        if self.normalization is None:
            yield functions.OBSERVE
        else:
            limited = functions.LIMITED if self.normalization.clip is not None else ""
            yield functions.OBSERVE_NORMALIZED.replace("LIMITED", limited)
        yield self._reset()
        yield self._step()
        yield functions.THINK.replace("RESTARTED", functions.RESTARTED if self.network.readout.start else "")
        if _is_continuous(self.network):
            bounded = functions.SQUASHED if actions is not None and actions.squashed else functions.CLIPPED
            yield functions.DECIDE_CONTINUOUS.replace("BOUNDED", bounded)
        else:
            yield functions.DECIDE_DISCRETE

    def _reset(self) -> str:
        lines = ["/* Puts all membranes to rest. */", "void NAME_reset(void) {"]
        for number, layer in enumerate(self.network.layers):
            size = math.prod(layer.neurons.shape)
            lines.append(f"    for (int i = 0; i < {size}; i++) NAME_v{number}[i] = 0;")
        return "\n".join([*lines, "}\n"])

    def _step(self) -> str:
        lines = ["/* One step of all layers. Spikes arrive in the step in which they are sent. */"]
        lines += ["void NAME_step(void) {"]
        sizes = [math.prod(layer.neurons.shape) for layer in self.network.layers]
        for number, layer in enumerate(self.network.layers):
            n, size, stored = layer.neurons, sizes[number], self.stored[number]
            if isinstance(layer.synapses, IntegerConv):
                lines.append(f"    NAME_conv(NAME_s{number - 1}, NAME_w{number}, &NAME_c{number}, NAME_current);")
            elif stored is not None:
                lines.append(
                    f"    NAME_dense(NAME_s{number - 1}, {sizes[number - 1]}, NAME_w{number}, {size}, NAME_current);"
                )
            current, scale, bias, shared = "0", 0, "NAME_observed", 1
            if stored is not None:
                current, scale, bias = "NAME_current", UNIT * stored.scale, f"NAME_b{number}"
                shared = size // n.bias_mant.size
            numbers = f"{shared}, {2**n.bias_exp}, {4096 - n.dv}, {n.vth * UNIT}"
            lines.append(
                f"    NAME_neurons({size}, {current}, {scale}, {bias}, {numbers}, NAME_v{number}, NAME_s{number});"
            )
        return "\n".join([*lines, "}\n"])


def _is_continuous(network: IntegerNetwork) -> bool:
    return network.actions is not None and network.actions.kind == "continuous"


def _stored(layer: IntegerLayer) -> _Stored | None:
    """The synapses of ``layer``; None if it has none."""
    synapses, neurons = layer.synapses, layer.neurons
    if neurons.du != FORGOTTEN or neurons.bias_exp < 0:
        raise NotExportable(f"{layer.name}: got neurons with a decaying current, allowed are lif, plif, if")
    if synapses is None:
        return None
    if synapses.message_bits or (isinstance(synapses, IntegerDense) and synapses.exponent):
        raise NotExportable(f"{layer.name}: got synapses with messages or an exponent, allowed are spikes and none")
    weight = synapses.stored().T if isinstance(synapses, IntegerDense) else synapses.weight
    common = int(np.bitwise_or.reduce(np.abs(weight), axis=None))
    scale = common & -common or 1
    return _Stored(weight // scale, scale)


def _windows(name: str, conv: Conv | IntegerConv, before: tuple[int, ...], after: tuple[int, ...]) -> str:
    sizes = (*before, *after, conv.groups, *conv.weight.shape[2:], *conv.stride, *conv.padding, *conv.dilation)
    return f"static const NAME_windows {name} = {{{', '.join(map(str, sizes))}}};"


def _wrapped(values: NDArray[Any]) -> str:
    """Numbers of C, as many in a line as fit; float32 and float64 keep every bit."""
    lines, line = [], "   "
    for value in values:
        number = str(int(value)) if values.dtype.kind in "iu" else _decimal(value)
        if len(line) + len(number) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {number},"
    return "\n".join([*lines, line])


def _decimal(value: Any) -> str:
    digits = format(float(value), ".9g" if value.dtype == np.float32 else ".17g")
    point = digits if "." in digits or "e" in digits else f"{digits}.0"
    return f"{point}f" if value.dtype == np.float32 else point
