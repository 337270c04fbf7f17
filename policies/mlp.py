"""Spiking multi-layer perceptron: code -> (synapses -> LIF) per layer -> decoded activity of the last layer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snn4.policies.backends import make_neuron
from snn4.policies.coding import Bounds, CodingConfig, decoder_weights, make_encoder
from snn4.policies.event_driven import EventDriven, event_layout
from snn4.policies.neurons import Neuron, NeuronConfig

EVENT_DRIVEN_BATCH = 16
"""Up to this many samples, deciding one by one, event by event, is faster than the whole batch in torch."""


class SpikingMLP(nn.Module):
    """(B, n_inputs) -> (B, net_arch[-1]): T inner steps from rest, then the decoded spikes of the last layer.

    Learns layer by layer over all (T, B), each layer's synapses one matrix product. Acts, under ``torch.no_grad()`` on a
    CPU, by the event-driven engine, unless the batch is large or a hook on a layer wants to see it work.

    Args:
        n_inputs: values in an observation.
        net_arch: neurons of each layer, at least one.
        T: inner steps, >= 1.
        neuron: the neurons of all layers.
        coding: how the observation enters.
        readout: ``rate`` or ``membrane`` (`coding.decoder_weights`).
        bounds: ``(low, high)`` of the observation, for codes that cover a range.
        backend: whose neurons: torch (this project's), snntorch or norse.
    """

    def __init__(
        self,
        n_inputs: int,
        net_arch: Sequence[int],
        T: int = 4,
        neuron: NeuronConfig | None = None,
        coding: CodingConfig | None = None,
        readout: str = "rate",
        bounds: Bounds | None = None,
        backend: str = "torch",
    ) -> None:
        super().__init__()
        if T < 1:
            raise ValueError(f"T: got {T}, allowed is a whole number >= 1")
        if not net_arch or min(net_arch) < 1:
            raise ValueError(f"net_arch: got {list(net_arch)}, allowed is one or more layer sizes >= 1")
        neuron = neuron or NeuronConfig()
        self.T = T
        self.encoder = make_encoder(n_inputs, T, coding or CodingConfig(), bounds)
        if not neuron.spikes:
            raise ValueError(f"neuron.kind: got {neuron.kind!r}, which does not spike; it is for readouts")
        self.layers = nn.ModuleList()
        for a, b in itertools.pairwise([self.encoder.n_outputs, *net_arch]):
            self.layers += [event_layout(nn.Linear(a, b)), make_neuron(neuron, backend, (b,))]
        self.decoder: Tensor
        self.register_buffer("decoder", decoder_weights(readout, T, neuron.decay), persistent=False)
        self.event_driven = EventDriven(list(self.layers), self.decoder) if backend == "torch" else None

    def forward(self, x: Tensor) -> Tensor:
        if self.event_driven is not None and len(x) <= EVENT_DRIVEN_BATCH and self.event_driven.serves(x):
            return torch.from_numpy(self.event_driven(self.encoder(x).numpy()))
        return torch.tensordot(self.decoder, self.spikes(x)[-1], dims=1)

    def spikes(self, x: Tensor) -> list[Tensor]:
        """The spike trains (T, B, n) of every layer for input ``x`` (B, n_inputs), computed in torch."""
        signal, trains = self.encoder(x), []
        for layer in self.layers:
            if not isinstance(layer, Neuron):
                signal = layer(signal)
                continue
            signal, _ = layer(signal, steps=self.T)  # a constant code gives the same current at every step
            trains.append(signal)
        return trains
