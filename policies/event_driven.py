"""Event-driven acting on a CPU: a decision in a few microseconds, in which only neurons that spike cost synaptic work.

The engine reads the weights where they live, in the module's own parameters, so it never acts with old ones. For that a
synapse keeps its weight (out, in) with the memory of (in, out): `event_layout` arranges it, and nothing else notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn4.policies.neurons import Neuron
from snn4.policies.scan import NeuronState, is_fused

Floats = NDArray[np.float32]


def event_layout(linear: nn.Linear) -> nn.Linear:
    """Keep the weights that one input sends out next to one another in memory; shape and values stay."""
    linear.weight.data = linear.weight.data.t().contiguous().t()
    return linear


class EventDriven:
    """Runs layers ``[Linear, Neuron, Linear, Neuron, …]`` for decisions of ``decoder``'s length.

    Spikes are those of the layers run in torch, but for currents whose sums, taken in another order, round to the other
    side of the threshold.

    Args:
        layers: synapses and neurons in turn; all neurons spike.
        decoder: what a spike of the last layer counts at each of the T steps (T,).
    """

    def __init__(self, layers: Sequence[nn.Module], decoder: Tensor) -> None:
        self.linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
        self.neurons = [layer for layer in layers if isinstance(layer, Neuron)]
        self.decoder = decoder.detach().cpu().numpy().astype(np.float32)
        self._nothing = tuple(np.zeros((0, 0, 0), np.bool_) for _ in self.neurons)
        self._synapses: tuple[tuple[int, ...], Any] = ((), None)
        self._neurons = _NeuronArrays(self.neurons, [linear.out_features for linear in self.linears])

    def serves(self, x: Tensor | None = None) -> bool:
        """Whether it can act at all, and in the present mode of torch, on ``x``."""
        if torch.is_grad_enabled() or not is_fused():
            return False
        if x is not None and (x.device.type != "cpu" or x.dtype != torch.float32):
            return False
        return not any(layer._forward_hooks or layer._forward_pre_hooks for layer in (*self.linears, *self.neurons))

    def __call__(self, signal: Floats, states: Sequence[Floats] | None = None, record: Any = None) -> Floats:
        """Decoded activity (B, n) of the last layer for the coded input ``signal`` ((1 or T), B, n).

        Args:
            states: of each layer (rows, B, n), changed in place; None starts from rest.
            record: arrays (T, B, n) of bool, one for each layer, to be filled with spikes.
        """
        from snn4.policies._event_kernels import decide

        batch = signal.shape[1]
        states = tuple(states) if states is not None else self.rest(batch)
        out = np.zeros((batch, self.linears[-1].out_features), np.float32)
        weights, biases = self._weights()
        decide(  # type: ignore[call-arg]
            signal, len(self.decoder), weights, biases, *self._neurons.arrays(), states, self.decoder, out,
            self._nothing if record is None else tuple(record),
        )  # fmt: skip
        return out

    def spikes(self, signal: Floats) -> list[NDArray[np.bool_]]:
        """The spike trains (T, B, n) of every layer, from rest."""
        shape = (len(self.decoder), signal.shape[1])
        record = [np.zeros((*shape, linear.out_features), np.bool_) for linear in self.linears]
        self(signal, record=record)
        return record

    def rest(self, batch: int) -> tuple[Floats, ...]:
        """States (rows, B, n) of each layer at rest."""
        return tuple(self._neurons.rest(layer, batch) for layer in range(len(self.neurons)))

    def _weights(self) -> Any:
        """Views of the parameters; they are made again when a parameter moves in memory."""
        places = tuple(p.data_ptr() for linear in self.linears for p in (linear.weight, linear.bias))
        if self._synapses[0] != places:
            weights = [linear.weight.detach().t() for linear in self.linears]
            if not all(weight.is_contiguous() for weight in weights):
                for linear in self.linears:
                    event_layout(linear)
                return self._weights()
            views = tuple(w.numpy() for w in weights), tuple(linear.bias.detach().numpy() for linear in self.linears)
            self._synapses = (places, views)
        return self._synapses[1]


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
        self.factors = self._factors()

    def arrays(self) -> tuple[Any, ...]:
        factors = self._factors() if self.learned else self.factors
        return *factors, self.constants, self.flags

    def _factors(self) -> tuple[tuple[Floats, ...], ...]:
        """Decay, gain and leak, (membranes, n) for each layer; computed afresh where they are learned."""
        layers = [
            [_wide(values, width) for values in neuron.factors()]
            for neuron, width in zip(self.neurons, self.widths, strict=True)
        ]
        return tuple(zip(*layers, strict=True))

    def rest(self, layer: int, batch: int) -> Floats:
        membranes, synapse, adaptive, _ = self.flags[layer]
        state = np.zeros((membranes + synapse + adaptive, batch, self.widths[layer]), np.float32)
        state[:membranes] = self.neurons[layer].config.v_leak
        return state


def _wide(values: Tensor, width: int) -> Floats:
    return np.ascontiguousarray(values.detach().expand(len(values), width).numpy(), np.float32)


def from_rows(rows: Floats, neuron: Neuron) -> NeuronState:
    """The state of a layer from the rows that the engine keeps."""
    d, parts = neuron.dynamics, torch.from_numpy(rows)
    k = len(d.decay)
    i = parts[k] if d.syn_decay is not None else None
    return NeuronState(parts[0] if k == 1 else parts[:k], i, parts[-1] if d.adaptation is not None else None)
