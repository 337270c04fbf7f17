"""Spiking multi-layer perceptron: code -> (synapses -> LIF) per layer -> decoded activity of the last layer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snn4.policies.coding import Bounds, CodingConfig, decoder_weights, make_encoder
from snn4.policies.neurons import LIF, NeuronConfig


class SpikingMLP(nn.Module):
    """(B, n_inputs) -> (B, net_arch[-1]): T inner steps from rest, then the decoded spikes of the last layer.

    Runs layer by layer over all (T, B): each layer's synapses are one matrix product.

    Args:
        n_inputs: values in an observation.
        net_arch: neurons of each layer, at least one.
        T: inner steps, >= 1.
        neuron: the neurons of all layers.
        coding: how the observation enters.
        readout: ``rate`` or ``membrane`` (`coding.decoder_weights`).
        bounds: ``(low, high)`` of the observation, for codes that cover a range.
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
    ) -> None:
        super().__init__()
        if T < 1:
            raise ValueError(f"T: got {T}, allowed is a whole number >= 1")
        if not net_arch or min(net_arch) < 1:
            raise ValueError(f"net_arch: got {list(net_arch)}, allowed is one or more layer sizes >= 1")
        neuron = neuron or NeuronConfig()
        self.T = T
        self.encoder = make_encoder(n_inputs, T, coding or CodingConfig(), bounds)
        sizes = [self.encoder.n_outputs, *net_arch]
        pairs = itertools.pairwise(sizes)
        self.layers = nn.ModuleList(layer for a, b in pairs for layer in (nn.Linear(a, b), LIF(neuron)))
        self.decoder: Tensor
        self.register_buffer("decoder", decoder_weights(readout, T, neuron.decay), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensordot(self.decoder, self.spikes(x)[-1], dims=1)

    def spikes(self, x: Tensor) -> list[Tensor]:
        """The spike trains (T, B, n) of every layer for input ``x`` (B, n_inputs)."""
        signal, trains = self.encoder(x), []
        for layer in self.layers:
            if not isinstance(layer, LIF):
                signal = layer(signal)
                continue
            if len(signal) != self.T:  # a constant code: the same current at every step
                signal = signal.expand(self.T, *signal.shape[1:])
            signal, _ = layer(signal)
            trains.append(signal)
        return trains
