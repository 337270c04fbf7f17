"""Event-driven acting on a CPU: a decision in a few microseconds, in which only neurons that spike cost synaptic work.

The engine keeps the weights of each synapse by the neuron that sends, and before each decision compares them with the
module's own parameters, so that it never acts with old ones, whoever changed them and how.
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
from snn4.policies.finite import require_finite
from snn4.policies.fused import is_fused
from snn4.policies.neurons import Neuron

Floats = NDArray[np.float32]

EVENT_DRIVEN_BATCH = 16
"""Up to this many samples, deciding one by one, event by event, is faster than the whole batch in torch."""


def is_watched(*layers: nn.Module) -> bool:
    """Whether a hook waits for one of ``layers`` to be called, or for its gradients."""
    return _has_any_global_hook() or any(
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
        for layer in layers
    )


class EventDriven:
    """Runs layers ``[Linear, Neuron, Linear, Neuron, …]`` for decisions of ``decoder``'s length.

    Spikes are those of the layers run in torch, but for currents whose sums, taken in another order, round to the other
    side of the threshold.

    Args:
        layers: synapses and neurons in turn; all neurons spike.
        decoder: what a spike of the last layer counts at each of the T steps.
        encoder: what makes the signal; its parameters, too, must be finite where it decides.
    """

    def __init__(self, layers: Sequence[nn.Module], decoder: WeightedDecoder, encoder: nn.Module | None = None) -> None:
        self.layers = list(layers)
        self.linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
        self.neurons = [layer for layer in layers if isinstance(layer, Neuron)]
        self.decoder = decoder
        self._learned = [*self.layers, decoder, *([] if encoder is None else [encoder])]
        weights = {id(linear.weight) for linear in self.linears}
        self._vectors = [p for module in self._learned for p in module.parameters() if id(p) not in weights]
        self._nothing = tuple(np.zeros((0, 0, 0), np.bool_) for _ in self.neurons)
        self._own = _Own()
        self._neurons = _NeuronArrays(self.neurons, [linear.out_features for linear in self.linears])

    def __getstate__(self) -> dict[str, Any]:
        # A copy has weights of its own, wherever they come to lie.
        return {name: value for name, value in vars(self).items() if name != "_own"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._own = _Own()

    def runs(self, layers: Iterable[nn.Module], decoder: nn.Module) -> bool:
        """Whether it can act for these layers: they are still its own, plain ones, float32 on a CPU, without hooks."""
        if [*layers] != self.layers or decoder is not self.decoder:
            return False
        if any(type(layer) not in (nn.Linear, Neuron) for layer in self.layers):
            return False
        weights = [linear.weight for linear in self.linears]
        if not is_fused() or any(w.device.type != "cpu" or w.dtype != torch.float32 for w in weights):
            return False
        if not all(weight.is_contiguous() for weight in weights):
            return False
        return not is_watched(*self.layers, self.decoder)

    def __call__(self, signal: Floats, states: Sequence[Floats] | None = None, record: Any = None) -> Floats:
        """Decoded activity (B, n) of the last layer for the coded input ``signal`` ((1 or T), B, n).

        Args:
            states: of each layer (rows, B, n), changed in place; None starts from rest.
            record: arrays (T, B, n) of bool, one for each layer, to be filled with spikes.

        Raises:
            ValueError: a signal or state of another shape or dtype, which compiled code would not notice, or parameters
                that hold NaN or infinity.
        """
        from snn4.policies.engine._event_kernels import decide

        decoder = self.decoder.weights.detach().numpy()
        batch = self._check(signal, len(decoder))
        states = self.rest(batch) if states is None else self._checked(states, batch)
        out = np.zeros((batch, self.linears[-1].out_features), np.float32)
        weights, biases = self._weights()
        decide(  # type: ignore[call-arg]
            signal, len(decoder), weights, biases, *self._neurons.arrays(), states, decoder, out,
            self._nothing if record is None else tuple(record),
        )  # fmt: skip
        return out

    def _check(self, signal: Floats, steps: int) -> int:
        """The batch of a good signal."""
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
        """As a call, from the ``states`` of each layer: decoded activity and the last states."""
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

    def rest(self, batch: int) -> tuple[Floats, ...]:
        """States (rows, B, n) of each layer at rest."""
        return self._neurons.rest(batch)

    def _weights(self) -> Any:
        """Weights (in, out) and biases (out,) of each layer, as the parameters are now; ValueError unless finite."""
        from snn4.policies.engine._event_kernels import refresh

        places = tuple(p.data_ptr() for p in (*(linear.weight for linear in self.linears), *self._vectors))
        if self._own.held.places != places:  # parameters moved in memory, or this is the thread's first decision
            self._own.held = _held(places, self.linears, self._vectors)
        held = self._own.held
        if not refresh(held.weights, held.seen, held.rows, held.vectors):  # type: ignore[call-arg]
            require_finite(self._learned)
        return held.rows, held.biases


class _Held(NamedTuple):
    """Views of the parameters, and what the kernel needs of them."""

    places: tuple[int, ...] = ()
    """Where in memory they lie."""
    weights: tuple[Floats, ...] = ()
    biases: tuple[Floats, ...] = ()
    vectors: tuple[Floats, ...] = ()
    """All that is learned but weights, each in one dimension."""
    seen: tuple[Floats, ...] = ()
    """The weights when ``rows`` were written."""
    rows: tuple[Floats, ...] = ()
    """The weights by the neuron that sends (in, out)."""


class _Own(local):
    """What each thread has for itself: others may decide at the same time, and a lock might be forked while held."""

    held = _Held()


def _held(places: tuple[int, ...], linears: Sequence[nn.Linear], learned: Sequence[Tensor]) -> _Held:
    weights = tuple(linear.weight.detach().contiguous().numpy() for linear in linears)
    biases = tuple(linear.bias.detach().numpy() for linear in linears)
    vectors = tuple(parameter.detach().reshape(-1).numpy() for parameter in learned)
    seen = tuple(np.full_like(weight, np.nan) for weight in weights)
    return _Held(places, weights, biases, vectors, seen, tuple(np.empty(w.shape[::-1], np.float32) for w in weights))


class _NeuronArrays:
    """Constants of all layers of neurons as the kernel takes them."""

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
        """Decay, gain and leak, (membranes, n) for each layer; computed afresh where they are learned."""
        layers = [
            [_wide(values, width) for values in neuron.factors()]
            for neuron, width in zip(self.neurons, self.widths, strict=True)
        ]
        return tuple(zip(*layers, strict=True))

    def shapes(self, batch: int) -> list[tuple[int, int, int]]:
        """Of the state of each layer."""
        return [(rows, batch, width) for rows, width in zip(self.rows, self.widths, strict=True)]

    def rest(self, batch: int) -> tuple[Floats, ...]:
        states = tuple(np.zeros(shape, np.float32) for shape in self.shapes(batch))
        for state, neuron in zip(states, self.neurons, strict=True):
            state[: len(neuron.dynamics.decay)] = neuron.config.v_leak
        return states


def _wide(values: Tensor, width: int) -> Floats:
    return np.ascontiguousarray(values.detach().expand(len(values), width).numpy(), np.float32)
