"""What decisions cost on a Loihi chip and its host, by operation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.chip import drive, on_chip
from snn4.policies.export.description import Conv, Dense
from snn4.policies.export.integer_network import IntegerNetwork
from snn4.policies.export.placement import crossed
from snn4.policies.metering.energy import ENERGY_MODELS, Operations


@dataclass(frozen=True)
class ChipCost:
    """Mean cost of one decision on the chip, over samples."""

    synaptic_events: float
    """Spikes that cross a synapse with a weight other than 0."""
    updates: float
    """Of neurons, in all steps of a decision."""
    active_updates: float
    """Of neurons that receive something, or spike, in that step."""
    host_macs: int
    """Multiply-accumulates of the host."""
    spikes: float

    @property
    def joules(self) -> float:
        """Energy on a Loihi 1 and its host, as `ENERGY_MODELS` has it."""
        joules = ENERGY_MODELS["loihi1"].joules(
            Operations(
                synaptic_events=self.synaptic_events, active_updates=self.active_updates,
                inactive_updates=self.updates - self.active_updates, host_operations=self.host_macs,
            )
        )  # fmt: skip
        assert joules is not None
        return joules


def chip_cost(network: IntegerNetwork, signal: NDArray[Any]) -> ChipCost:
    """The cost of decisions on ``signal`` (S, decisions, …), one after the other, in all their steps."""
    driven = drive(network, signal)
    events = active = spikes = 0.0
    messages = driven["messages"][:, None] != 0 if "messages" in driven else None
    traces = on_chip(network, driven)
    for layer, trace in zip(network.layers, traces, strict=True):
        if layer.synapses is None:  # biases drive them, in every step
            received = np.repeat(driven["biases"], network.window, 0)[:, None]
        else:
            assert messages is not None
            received = crossed(layer.synapses, messages)
            events += float(received.sum())
            received = np.concatenate([np.zeros_like(received[:1]), received[:-1]])
        active += float(((received != 0) | trace.spikes).sum())
        spikes += float(trace.spikes.sum())
        messages = trace.spikes
    decisions = signal.shape[1]
    updates = float(network.window * sum(math.prod(layer.neurons.shape) for layer in network.layers))
    return ChipCost(events / decisions, updates, active / decisions, host_operations(network), spikes / decisions)


def host_operations(network: IntegerNetwork) -> int:
    """Multiplications of the host per decision, by weights other than 0."""
    layers = network.host.layers if network.host else ()
    pixels = {layer.name: int(np.prod(layer.shape[1:])) for layer in layers}
    synapses = [(layer.part, pixels[layer.name]) for layer in layers if isinstance(layer.part, (Dense, Conv))]
    return sum(int(np.count_nonzero(part.weight)) * n for part, n in synapses)
