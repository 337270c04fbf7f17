"""The cost of a decision, in total and per layer; `metering.Meter` describes how each number is counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from snn4.policies.metering.traffic import Values


@dataclass(frozen=True)
class LayerCost:
    """Mean cost of one decision in one layer."""

    name: str
    """As in ``named_modules()``."""
    kind: str
    """The layer's class, or the kind of its neurons."""
    spikes: float
    """Spikes of its neurons."""
    spike_rate: float | None
    """Spikes per neuron and inner step; None for a layer that does not spike."""
    dense_macs: float
    """As in `Cost`, like all below."""
    effective_macs: float
    effective_acs: float
    neuron_updates: float
    active_neuron_updates: float
    memory_bytes: float
    parameters: int
    bytes: int
    neuron_macs: float = 0.0
    neuron_acs: float = 0.0
    traffic: Values = field(default_factory=Values)


@dataclass(frozen=True)
class Cost:
    """Mean cost of one decision, and the size of the network."""

    spikes_per_decision: float
    """Spikes of all neurons in all inner steps."""
    effective_acs: float
    """Spikes that cross a synapse."""
    effective_macs: float
    """Non-zero real values that cross a synapse."""
    energy_joules: dict[str, float | None]
    """Joules by energy model (`energy.ENERGY_MODELS`); None if its hardware cannot run the network."""
    parameters: int
    """Weights, biases and all else that is learned."""
    bytes: int
    """Of all parameters."""
    spike_rates: list[float] = field(default_factory=list)
    """Spikes per neuron and inner step, for each spiking layer."""
    dense_macs: float = 0.0
    """Synaptic operations if zeros were computed as well."""
    neuron_updates: float = 0.0
    """Neurons times inner steps."""
    active_neuron_updates: float = 0.0
    """Updates of neurons that spike or receive input in that step."""
    neuron_macs: float = 0.0
    """Multiply-accumulates inside neurons and activation functions (`neuron_operations`), which are not synaptic."""
    neuron_acs: float = 0.0
    """Additions and comparisons inside neurons and activation functions."""
    memory_bytes: float = 0.0
    """Bytes read and written, each value with the size of its dtype."""
    traffic: Values = field(default_factory=Values)
    """Values read and written, by kind; spikes as bits."""
    footprint_bytes: int = 0
    """Of all parameters and buffers."""
    connection_sparsity: float = 0.0
    """Fraction of weights that are 0."""
    activation_sparsity: float = 0.0
    """Fraction of outputs of neurons and activation functions that are 0."""
    layers: list[LayerCost] = field(default_factory=list)
    """Layers in the order of their first call, without those that cost nothing and have no parameters."""
