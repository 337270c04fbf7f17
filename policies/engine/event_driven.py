"""Event-driven acting on a CPU: a decision takes a few microseconds, and only neurons that spike cost synaptic work.

The engine stores weights by presynaptic neuron; of a layer with many zeros, only the present ones. Before each decision
it compares them with the parameters of the module, so it never acts with outdated weights, however they were changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import local
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from snn4.policies.decoding import WeightedDecoder
from snn4.policies.dynamics import NeuronState, state_from_rows, state_to_rows
from snn4.policies.engine.compiled import Prepared, prepare
from snn4.policies.engine.plain import Layer, Present
from snn4.policies.finite import require_finite
from snn4.policies.fused import is_fused
from snn4.policies.neurons import Neuron
from snn4.policies.sparse import SparseLinear

Floats = NDArray[np.float32]

EVENT_DRIVEN_BATCH = 16
"""Largest batch for which the engine, which decides sample by sample, is faster than torch."""


def is_watched(*layers: nn.Module) -> bool:
    """Whether one of ``layers`` has a forward or backward hook, or a global hook exists."""
    return _has_any_global_hook() or any(
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
        for layer in layers
    )


class EventDriven:
    """Runs layers ``[Linear, Neuron, Linear, Neuron, …]`` for decisions of T steps, as many as ``decoder`` has.

    Spikes equal those of the layers in torch, except where a current, summed in another order, rounds to the other side
    of the threshold.

    Args:
        layers: synapses and neurons in alternation; all neurons spike.
        decoder: the weights of the last layer's spikes at each of the T steps.
        encoder: the module that computes the signal; its parameters must be finite as well.
    """

    def __init__(self, layers: Sequence[nn.Module], decoder: WeightedDecoder, encoder: nn.Module | None = None) -> None:
        self.layers = list(layers)
        self.linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
        self.neurons = [layer for layer in layers if isinstance(layer, Neuron)]
        self.decoder = decoder
        self._learned = [*self.layers, decoder, *([] if encoder is None else [encoder])]
        self._signed = any(neuron.dynamics.signed for neuron in self.neurons)
        self._nothing = tuple(np.zeros((0, 0, 0), np.bool_) for _ in self.neurons)
        self._local = _Local()
        self._neurons = _NeuronArrays(self.neurons, [linear.out_features for linear in self.linears])

    def __getstate__(self) -> dict[str, Any]:
        # A copy has its own weights, at other addresses.
        return {name: value for name, value in vars(self).items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._local = _Local()

    def runs(self, layers: Iterable[nn.Module], decoder: nn.Module) -> bool:
        """Whether it can act for ``layers``: its own layers, of plain types, in float32 on a CPU, without hooks."""
        if self._signed or [*layers] != self.layers or decoder is not self.decoder or not is_fused():
            return False
        for layer in self.layers:
            if type(layer) not in (nn.Linear, SparseLinear, Neuron):
                return False
            weight = layer._parameters.get("weight")  # as attributes, parameters take several times as long
            if weight is not None and not (weight.is_cpu and weight.dtype == torch.float32 and weight.is_contiguous()):
                return False
        return not is_watched(*self.layers, self.decoder)

    def __call__(self, signal: Floats, states: Sequence[Floats] | None = None, record: Any = None) -> Floats:
        """Decoded activity (B, n) of the last layer for the coded input ``signal`` ((1 or T), B, n).

        Args:
            states: state of each layer (rows, B, n), updated in place; None starts from rest.
            record: arrays (T, B, n) of bool, one per layer, which are filled with spikes.

        Raises:
            ValueError: for a signal or state of another shape or dtype, which compiled code would not detect, and for
                parameters that hold NaN or infinity.
        """
        copies = self._weights()
        decoder = copies.decoder
        batch = self._check(signal, len(decoder))
        if states is None and record is None and copies.layers:
            prepared = copies.prepared.get(batch)
            if prepared is None:
                prepared = copies.prepared[batch] = prepare(copies.layers, copies.decoder, batch)
            prepared.decide(np.ascontiguousarray(signal), False)
            return prepared.out.copy()
        from snn4.policies.engine._event_kernels import decide

        states = self.rest(batch) if states is None else self._checked(states, batch)
        out = np.zeros((batch, self.linears[-1].out_features), np.float32)
        decide(  # type: ignore[call-arg]
            signal, len(decoder), copies.rows, *copies.present, copies.biases, *self._neurons.arrays(), states, decoder,
            out, self._nothing if record is None else tuple(record),
        )  # fmt: skip
        return out

    def _check(self, signal: Floats, steps: int) -> int:
        """The batch size of ``signal``; ValueError if its shape or dtype is wrong."""
        shape, n = signal.shape, self.linears[0].in_features
        if len(shape) != 3 or shape[2] != n or shape[0] not in (1, steps) or signal.dtype != np.float32:
            got = f"shape {shape} of {signal.dtype}"
            raise ValueError(f"signal: got {got}, allowed is (1 or {steps}, B, {n}) of float32")
        return shape[1]

    def _checked(self, states: Sequence[Floats], batch: int) -> tuple[Floats, ...]:
        for (number, state), shape in zip(enumerate(states), self._neurons.shapes(batch), strict=True):
            if state.shape != shape or state.dtype != np.float32:
                got = f"shape {state.shape} of {state.dtype}"
                raise ValueError(f"states[{number}]: got {got}, allowed is {shape} of float32")
        return tuple(states)

    def go_on(self, signal: Floats, states: Sequence[NeuronState]) -> tuple[Floats, list[NeuronState]]:
        """Decoded activity and final states, starting from the ``states`` of each layer."""
        dynamics = [neuron.dynamics for neuron in self.neurons]
        rows = [state_to_rows(state, d).numpy() for state, d in zip(states, dynamics, strict=True)]
        out = self(signal, rows)
        return out, [state_from_rows(torch.from_numpy(part), d) for part, d in zip(rows, dynamics, strict=True)]

    def spikes(self, signal: Floats) -> list[NDArray[np.bool_]]:
        """The spike trains (T, B, n) of every layer, from rest."""
        shape = (len(self.decoder.weights), signal.shape[1])
        record = [np.zeros((*shape, linear.out_features), np.bool_) for linear in self.linears]
        self(signal, record=record)
        return record

    def plain_layers(self) -> tuple[Layer, ...]:
        """Copies of synapses and neurons in the format of the kernel."""
        rows = [np.ascontiguousarray(linear.weight.detach().numpy().T) for linear in self.linears]
        return self._layers(rows, [linear.bias.detach().numpy().copy() for linear in self.linears])

    def rest(self, batch: int) -> tuple[Floats, ...]:
        """States (rows, B, n) of each layer at rest."""
        return self._neurons.rest(batch)

    def _weights(self) -> _Copies:
        """Current weights and biases of each layer; ValueError unless all parameters are finite."""
        from snn4.policies.engine._event_kernels import refresh

        # As attributes, parameters take several times as long.
        parameters = [p for module in self._learned for p in module._parameters.values() if p is not None]
        addresses = [self.decoder.weights.data_ptr(), *(p.data_ptr() for p in parameters)]
        # The parameters have moved, or this is the first decision of the thread.
        if self._local.copies.addresses != addresses:
            self._local.copies = self._copied(addresses, parameters)
        copies = self._local.copies
        finite, changed = refresh(copies.weights, copies.seen, copies.rows, copies.vectors)  # type: ignore[call-arg]
        if changed:
            present: Any = tuple(zip(*map(Present.of, copies.rows), strict=True))
            layers = () if self._neurons.learned else self._layers(copies.rows, copies.biases)
            copies = self._local.copies = copies._replace(present=present, layers=layers, prepared={})
        if not finite:
            require_finite(self._learned)
        return copies

    def _copied(self, addresses: list[int], parameters: Sequence[Tensor]) -> _Copies:
        weights = [linear.weight for linear in self.linears]
        others = [p for p in parameters if all(p is not weight for weight in weights)]
        arrays = tuple(weight.detach().contiguous().numpy() for weight in weights)
        return _Copies(
            addresses, arrays,
            tuple(linear.bias.detach().numpy() for linear in self.linears),
            tuple(parameter.detach().reshape(-1).numpy() for parameter in others),
            tuple(np.full_like(weight, np.nan) for weight in arrays),
            tuple(np.empty(weight.shape[::-1], np.float32) for weight in arrays),
            self.decoder.weights.detach().numpy(),
        )  # fmt: skip

    def _layers(self, rows: Sequence[Floats], biases: Sequence[Floats]) -> tuple[Layer, ...]:
        rests = [np.array(neuron.config.v_leak, np.float32) for neuron in self.neurons]
        decays, gains, leaks, constants, flags = self._neurons.arrays()
        return tuple(map(Layer, rows, biases, decays, gains, leaks, constants, flags, rests))


class _Copies(NamedTuple):
    """Views of the parameters, and their copies for the kernel."""

    addresses: Sequence[int] = ()
    """Their memory addresses."""
    weights: tuple[Floats, ...] = ()
    biases: tuple[Floats, ...] = ()
    vectors: tuple[Floats, ...] = ()
    """All learned parameters except weights, flattened."""
    seen: tuple[Floats, ...] = ()
    """The weights from which ``rows`` were written."""
    rows: tuple[Floats, ...] = ()
    """The weights by presynaptic neuron (in, out)."""
    decoder: Floats = np.zeros(0, np.float32)
    """(T,)."""
    present: tuple[Any, Any, Any] = ((), (), ())
    """Starts, targets and values of each layer's present synapses; empty for layers with few zeros."""
    layers: tuple[Layer, ...] = ()
    """Views of all this for `prepare`; empty for neurons that learn their decays."""
    prepared: dict[int, Prepared] = {}  # noqa: RUF012
    """By size of the batch."""


class _Local(local):
    """Data of each thread: threads can decide at the same time without a lock, which a fork could copy while held."""

    copies = _Copies()


class _NeuronArrays:
    """Constants of all layers of neurons in the format of the kernel."""

    def __init__(self, neurons: Sequence[Neuron], widths: Sequence[int]) -> None:
        self.neurons, self.widths = neurons, widths
        self.learned = any(neuron.decay_logit is not None for neuron in neurons)
        scalars, flags = [], []
        for d in (neuron.dynamics for neuron in neurons):
            scalars.append((d.syn_decay or 0, d.syn_gain, d.v_threshold, d.v_reset, d.adaptation or 0, d.adapt_decay))
            flags.append((len(d.decay), d.syn_decay is not None, d.adaptation is not None, d.reset == "hard"))
        self.constants, self.flags = np.array(scalars, np.float32), np.array(flags, np.int64)
        self.rows = [membranes + synapse + adaptive for membranes, synapse, adaptive, _ in flags]
        self.factors: Any = None

    def arrays(self) -> tuple[Any, ...]:
        if self.learned or self.factors is None:
            self.factors = self._factors()
        return *self.factors, self.constants, self.flags

    def _factors(self) -> tuple[tuple[Floats, ...], ...]:
        """Decay, gain and leak, (membranes, n) per layer."""
        layers = [
            [_wide(values, width) for values in neuron.factors()]
            for neuron, width in zip(self.neurons, self.widths, strict=True)
        ]
        return tuple(zip(*layers, strict=True))

    def shapes(self, batch: int) -> list[tuple[int, int, int]]:
        """Shape of the state of each layer."""
        return [(rows, batch, width) for rows, width in zip(self.rows, self.widths, strict=True)]

    def rest(self, batch: int) -> tuple[Floats, ...]:
        states = tuple(np.zeros(shape, np.float32) for shape in self.shapes(batch))
        for state, neuron in zip(states, self.neurons, strict=True):
            state[: len(neuron.dynamics.decay)] = neuron.config.v_leak
        return states


def _wide(values: Tensor, width: int) -> Floats:
    return np.ascontiguousarray(values.detach().expand(len(values), width).numpy(), np.float32)
