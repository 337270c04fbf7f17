"""Hooks that count the operations of each layer, and follow the spikes between layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snn4.policies.coding import INTEGRATE_AND_FIRE, Encoder, PopulationEncoder
from snn4.policies.decoding import FirstSpikeDecoder, WeightedDecoder
from snn4.policies.dynamics import Dynamics, state_dtype
from snn4.policies.metering.cost import LayerCost
from snn4.policies.metering.neuron_operations import (
    ACTIVATIONS,
    Arithmetic,
    activation_arithmetic,
    gate_arithmetic,
    spike_arithmetic,
    update_arithmetic,
)
from snn4.policies.metering.signals import Signal, Signals
from snn4.policies.metering.synaptic_operations import (
    Synapses,
    check_batch,
    crossed,
    fan_out,
    recurrent_operations,
    sample_rows,
    total,
    touched_weights,
)
from snn4.policies.metering.traffic import Values
from snn4.policies.networks.attention import Mask, SpikeProduct
from snn4.policies.networks.graph import Join, SpikeMaxPool2d
from snn4.policies.neurons import Neuron
from snn4.policies.normalization import StepNorm2d

POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ADAPTIVE_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
MAX_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    SpikeMaxPool2d,
)  # fmt: skip


@dataclass
class Tally:
    """Sums over all decisions for one layer."""

    name: str
    layer: nn.Module
    dense: float = 0.0
    operations: float = 0.0
    binary: bool = True
    """Whether all inputs were -1, 0 or 1."""
    events: float | None = 0.0
    """Operations if every spike is sent separately; None once the layer did something that a chip's synapses cannot."""
    spikes: float = 0.0
    neuron_steps: int = 0
    """Steps of neurons that can spike."""
    updates: int = 0
    active: float = 0.0
    neuron_macs: float = 0.0
    neuron_acs: float = 0.0
    bytes: float = 0.0
    traffic: Values = field(default_factory=Values)
    """Without values that are bits if all inputs are spikes (``bits``), and else activations (``reals``)."""
    bits: int = 0
    reals: int = 0
    negative: bool = False
    """Whether any input was below 0; spikes with a sign take two bits."""
    outputs: int = 0
    """Outputs of neurons and activation functions."""
    nonzero: float = 0.0

    def compute(self, arithmetic: Arithmetic, number: float) -> None:
        """Add ``number`` times the ``arithmetic`` of neurons or of an activation function."""
        self.neuron_macs += arithmetic.macs * number
        self.neuron_acs += arithmetic.acs * number

    def read(self, x: Tensor) -> int:
        """Add the reading of inputs ``x``, of spikes all and of real values the non-zero ones; the number of these."""
        nonzero = int(torch.count_nonzero(x))
        self.bits += x.numel()
        self.reals += nonzero
        self.negative = self.negative or (self.binary and bool((x < 0).any()))
        return nonzero

    def values(self) -> Values:
        """Values read and written."""
        if self.binary:
            return self.traffic + Values(spikes=self.bits * (2 if self.negative else 1))
        return self.traffic + Values(activations=self.reals)

    def row(self, decisions: int) -> LayerCost:
        """The mean over this number of ``decisions``."""
        parameters = list(self.layer.parameters())
        return LayerCost(
            name=self.name,
            kind=self.layer.config.kind if isinstance(self.layer, Neuron) else type(self.layer).__name__,
            spikes=self.spikes / decisions,
            spike_rate=self.spikes / self.neuron_steps if self.neuron_steps else None,
            dense_macs=self.dense / decisions,
            effective_macs=0.0 if self.binary else self.operations / decisions,
            effective_acs=self.operations / decisions if self.binary else 0.0,
            neuron_updates=self.updates / decisions,
            active_neuron_updates=self.active / decisions,
            memory_bytes=self.bytes / decisions,
            parameters=sum(p.numel() for p in parameters),
            bytes=sum(p.numel() * p.element_size() for p in parameters),
            neuron_macs=self.neuron_macs / decisions,
            neuron_acs=self.neuron_acs / decisions,
            traffic=self.values() / decisions,
        )


class Counter:
    """Counts operations of layers in `Tally`. The type of a layer decides how; layers of other types cost nothing.

    Args:
        spiking: whether any layer spikes; otherwise the inputs of neurons are not tracked.
    """

    def __init__(self, spiking: bool) -> None:
        self._spiking = spiking
        self._signals = Signals()
        self._fans: dict[tuple[nn.Module, torch.Size], tuple[Tensor, float]] = {}
        self._written: list[tuple[Tally, int]] = []
        """Layers of this pass whose outputs, in numbers, wait for a neuron or an activation function."""
        self._passed: set[nn.Module] = set()

    def forget(self) -> None:
        """Forget all signals: the next layer starts a new decision."""
        self._signals.forget()
        self._start_pass()

    def forget_weights(self) -> None:
        """Forget all fan-outs, since weights may have changed."""
        self._fans.clear()

    def for_layer(self, layer: nn.Module) -> Callable[[Tally, Any, tuple[Any, ...], Tensor], None] | None:
        """The counter of calls of ``layer``, ``(tally, layer, inputs, output)``; None if they cost nothing."""
        match layer:
            case nn.Linear() | nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
                return self._synapses
            case nn.RNNBase():
                return self._recurrent
            case SpikeProduct():
                return self._product
            case Neuron():
                return self._neurons
            case PopulationEncoder():
                return self._population
            case Encoder() if layer.spikes:
                return self._code
            case _BatchNorm() | StepNorm2d():
                return self._norm
            case WeightedDecoder():
                return self._decoder
            case FirstSpikeDecoder():
                return self._first_spike
        for kinds, count in (
            (tuple(ACTIVATIONS), self._activation), (POOLS, self._pool), (ADAPTIVE_POOLS, self._pool),
            (MAX_POOLS, self._max), (Join, self._join),
        ):  # fmt: skip
            if isinstance(layer, kinds):
                return count
        return None

    def _synapses(self, tally: Tally, layer: Synapses, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        check_batch(tally.name, layer, inputs[0])
        signal = self._signals.of(inputs[0])
        spikes = signal.decoded(inputs[0])
        rows = sample_rows(layer, inputs[0] if spikes is None else spikes)
        fan, dense = self._fan_out(layer, rows.shape[1:])
        carrying = (rows != 0).to(fan.dtype)
        operations = total(carrying.flatten(1) @ fan.flatten())
        binary = torch.equal(rows.abs().to(fan.dtype), carrying)
        tally.operations += operations
        tally.dense += dense * len(rows)
        tally.binary &= binary
        if tally.events is not None and operations:
            unit = signal.unit if spikes is None else 1.0
            tally.events = _add(tally.events, operations if binary and unit == 1 else _spike_events(rows, fan, unit))
        # A weight of a fully connected layer sees one input, a weight of a kernel many.
        touched = operations if isinstance(layer, nn.Linear) else touched_weights(layer, carrying)
        biases = 0 if layer.bias is None else layer.bias.numel()
        tally.bytes += layer.weight.element_size() * (touched + biases * len(rows))
        tally.bytes += rows.element_size() * (tally.read(rows) + output.numel())
        tally.traffic += Values(weights=touched, biases=biases * len(rows))
        self._write(tally, output)
        received = crossed(layer, carrying) > 0 if self._spiking and spikes is None else None
        self._signals.put(output, Signal(received=received))

    def _write(self, tally: Tally, output: Tensor) -> None:
        """Count ``output`` as activations, which become sums if a neuron is the first to take them."""
        if tally.layer in self._passed:  # no neuron takes the scores of the pass, or of the step, before
            self._start_pass()
        self._passed.add(tally.layer)
        tally.traffic += Values(activations=output.numel())
        self._written.append((tally, output.numel()))

    def _start_pass(self) -> None:
        self._written.clear()
        self._passed.clear()

    def _fan_out(self, layer: Synapses, sample: torch.Size) -> tuple[Tensor, float]:
        """Effective fan-out of each input, and the total number of dense operations per sample."""
        key = (layer, sample)
        if key not in self._fans:
            self._fans[key] = fan_out(layer, sample), total(fan_out(layer, sample, dense=True))
        return self._fans[key]

    def _recurrent(self, tally: Tally, layer: nn.RNNBase, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, state = inputs[0], inputs[1] if len(inputs) > 1 else None
        check_batch(tally.name, layer, x)
        effective, dense = recurrent_operations(layer, x, state[0] if isinstance(state, tuple) else state)
        rows, states = x.numel() // layer.input_size, 2 if isinstance(layer, nn.LSTM) else 1
        biases = sum(p.numel() for name, p in layer.named_parameters() if name.startswith("bias"))
        tally.operations, tally.dense = tally.operations + effective, tally.dense + dense
        tally.binary, tally.events = False, None
        values = effective + rows * (biases + 2 * states * layer.hidden_size * layer.num_layers)
        tally.bytes += x.element_size() * (values + tally.read(x))
        hidden = 2 * rows * layer.hidden_size * layer.num_layers  # read and written
        tally.traffic += Values(effective, rows * biases, hidden, states=hidden * (states - 1))
        tally.compute(gate_arithmetic(layer), rows * layer.hidden_size * layer.num_layers)
        self._signals.put(output, Signal())

    def _product(self, tally: Tally, layer: SpikeProduct, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        effective, dense = layer.operations(*inputs)
        tally.operations += effective
        tally.dense += dense
        tally.binary &= all(bool(((x == 0) | (x.abs() == 1)).all()) for x in inputs)
        tally.events = None  # no synapse of a chip multiplies spikes by spikes
        tally.bytes += output.element_size() * (sum(map(tally.read, inputs)) + output.numel())
        if isinstance(layer, Mask):  # some of its inputs
            tally.bits += output.numel()
            tally.reals += output.numel()
        else:
            self._write(tally, output)
        self._signals.put(output, Signal())

    def _neurons(self, tally: Tally, layer: Neuron, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        d = layer.dynamics
        active = self._reached(inputs[0]).expand_as(output)
        states = len(d.decay) + (d.syn_decay is not None) + (d.adaptation is not None)
        self._update(tally, d, output)
        tally.bytes += output.numel() * (output.element_size() + 2 * states * state_dtype(output).itemsize)
        tally.traffic += Values(sums=output.numel(), states=2 * states * output.numel())
        self._take()
        if layer.config.spikes:
            active = active | (output != 0)
            _add_outputs(tally, output)
            self._code(tally, layer, inputs, output)
        else:
            tally.bytes += output.element_size() * output.numel()
            tally.traffic += Values(activations=output.numel())
            self._signals.put(output, Signal(source=self._spikes(inputs[0])))
        tally.active += int(torch.count_nonzero(active))

    def _take(self) -> None:
        """A neuron takes what was written: these activations were sums."""
        for tally, number in self._written:
            tally.traffic += Values(activations=-number, sums=number)
        self._written.clear()

    def _update(self, tally: Tally, dynamics: Dynamics, output: Tensor) -> None:
        """Count the update of every neuron in every step, and the reset for every spike in ``output``."""
        tally.updates += output.numel()
        tally.compute(update_arithmetic(dynamics), output.numel())
        if dynamics.reset != "none":
            tally.compute(spike_arithmetic(dynamics), total(output.detach().abs()))

    def _reached(self, current: Tensor) -> Tensor:
        """Whether each neuron receives input, for ``current`` (T or 1, B, …), in a shape that broadcasts to it."""
        signal = self._signals.known(current)
        received = None if signal is None else signal.received
        if received is None or received.numel() not in (current.numel(), current[:1].numel()):
            return current != 0
        return received.reshape(-1, *current.shape[1:])

    def _spikes(self, x: Tensor) -> Tensor | None:
        """``x`` (T, B, …) if it consists of spikes, also after flattening or max pooling; else None."""
        spikes = self._signals.of(x).unit is not None and bool(((x == 0) | (x.abs() == 1)).all())
        return x.detach() if spikes else None

    def _population(self, tally: Tally, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._code(tally, layer, inputs, output)
        receptive_fields = output[0].numel()
        tally.binary, tally.events = False, None
        tally.operations += 2 * receptive_fields
        tally.dense += 2 * receptive_fields
        self._update(tally, INTEGRATE_AND_FIRE, output)
        tally.active += output.numel()  # their fields drive all neurons in every step
        # values and parameters of the fields; currents and membranes of the neurons
        tally.bytes += output.element_size() * (inputs[0].numel() + 2 * receptive_fields + 3 * output.numel())
        number = output.numel()
        tally.traffic += Values(
            biases=2 * receptive_fields, activations=inputs[0].numel(), sums=number, states=2 * number
        )

    def _code(self, tally: Tally, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        spikes = output.detach()
        number = total(spikes.abs())
        tally.spikes += number
        tally.neuron_steps += spikes.numel()
        tally.bytes += number * spikes.element_size()
        signed = isinstance(layer, Neuron) and layer.dynamics.signed
        tally.traffic += Values(spikes=spikes.numel() * (2 if signed else 1))
        self._signals.put(output, Signal(unit=1.0))

    def _activation(self, tally: Tally, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        _add_outputs(tally, output)
        tally.compute(activation_arithmetic(layer), output.numel())
        self._written.clear()

    def _norm(self, tally: Tally, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        signal = self._signals.known(inputs[0])
        if signal is not None and signal.received is not None:
            self._signals.put(output, signal)
        if isinstance(layer, StepNorm2d) and layer.T > 1:  # synapses that change from step to step
            tally.events = None

    def _pool(self, tally: Tally, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        unit = self._signals.of(inputs[0]).unit
        if unit is None:
            return
        if isinstance(layer, ADAPTIVE_POOLS):  # windows differ unless sizes divide; then outputs are no sums of spikes
            window = inputs[0].numel() / output.numel()
        else:
            sides = layer.kernel_size
            window = math.prod(sides) if isinstance(sides, tuple) else sides ** int(type(layer).__name__[-2])
        self._signals.put(output, Signal(unit=unit / window))

    def _max(self, tally: Tally, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        tally.events = None
        if isinstance(layer, SpikeMaxPool2d):  # its outputs are spikes of the same value
            self._signals.put(output, Signal(unit=self._signals.of(inputs[0]).unit))

    def _join(self, tally: Tally, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        units = {self._signals.of(x).unit for x in inputs}
        self._signals.put(output, Signal(unit=units.pop() if len(units) == 1 else None))

    def _decoder(self, tally: Tally, layer: WeightedDecoder, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        signal, weight = self._signals.of(inputs[0]), layer.weights[0]
        # The mean over time of sums or averages of spikes is again such an average.
        is_mean = bool((layer.weights == weight).all())
        unit = signal.unit * float(weight) if signal.unit is not None and is_mean else None
        source = self._spikes(inputs[0]) if signal.source is None else signal.source
        self._signals.put(output, Signal(unit, source))

    def _first_spike(self, tally: Tally, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._signals.put(output, Signal())


def _add_outputs(tally: Tally, output: Tensor) -> None:
    tally.outputs += output.numel()
    tally.nonzero += int(torch.count_nonzero(output))


def _add(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _spike_events(rows: Tensor, fan: Tensor, unit: float | None) -> float | None:
    """Synapses crossed by the spikes of value ``unit`` that sum to ``rows``; None if ``rows`` are no such sums."""
    if unit is None:
        return None
    spikes = rows.abs().to(fan.dtype) / unit
    rounded = spikes.round()
    return total(rounded.flatten(1) @ fan.flatten()) if torch.allclose(spikes, rounded, rtol=0, atol=1e-3) else None
