"""The cores of a Loihi chip that an integer network needs, and what exceeds the chip.

Limits are those of Loihi 1 (Davies et al. 2018): 128 cores, each with 1,024 neurons, 128 KB of memory for synapses, and
4,096 axons that come in. Assumptions, because the chip's own formats are many:

- A core holds neurons of one layer, and all their incoming synapses.
- Only weights other than 0 are synapses. Convolutions share no weights: every synapse is stored.
- A synapse takes the bits of its weight and 10 for the address of its neuron in the core.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.integer import IntegerConv, IntegerDense
from snn4.policies.export.integer_network import IntegerNetwork

CORES, NEURONS_PER_CORE, BYTES_PER_CORE, AXONS_PER_CORE = 128, 1024, 128 * 1024, 4096
ADDRESS_BITS = 10
Synapses = IntegerDense | IntegerConv


class Place(NamedTuple):
    """The cores of one layer."""

    name: str
    neurons: int
    synapses: int
    cores: int
    axons: int
    """Neurons of the layer before; 0 without synapses."""
    bytes: int
    """Of all synapses."""

    @property
    def neurons_per_core(self) -> int:
        return math.ceil(self.neurons / self.cores)

    @property
    def synapses_per_core(self) -> int:
        return math.ceil(self.synapses / self.cores)


def placed(network: IntegerNetwork) -> list[Place]:
    """The cores of each layer, in order."""
    places = []
    shape = message_shape(network)
    for layer in network.layers:
        neurons = int(np.prod(layer.neurons.shape))
        synapses = 0 if layer.synapses is None else int(crossed(layer.synapses, np.ones((1, 1, *shape), bool)).sum())
        size = math.ceil(synapses * (network.bits + ADDRESS_BITS) / 8)
        cores = max(math.ceil(neurons / NEURONS_PER_CORE), math.ceil(size / BYTES_PER_CORE))
        axons = 0 if layer.synapses is None else int(np.prod(shape))
        places.append(Place(layer.name, neurons, synapses, cores, axons, size))
        shape = layer.neurons.shape
    return places


def message_shape(network: IntegerNetwork) -> tuple[int, ...]:
    """Shape at one step of the spikes that reach the first layer from outside; of its inputs, if there are none."""
    first = network.layers[0].synapses
    return (first.weight.shape[1],) if isinstance(first, IntegerDense) else network.input_shape


def crossed(synapses: Synapses, spikes: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Synapses that carry a spike into each neuron (T, B, …), for spikes (T, B, …)."""
    if isinstance(synapses, IntegerDense):
        return IntegerDense((synapses.stored() != 0).astype(np.int64)).currents(spikes)
    return synapses._replace(weight=(synapses.weight != 0).astype(np.int64)).currents(spikes)


def exceeded(network: IntegerNetwork, places: list[Place]) -> list[str]:
    """What exceeds one chip, a line each."""
    lines = []
    cores = sum(place.cores for place in places)
    if cores > CORES:
        lines.append(f"cores: {cores}, a chip has {CORES}")
    for place, layer in zip(places, network.layers, strict=True):
        if isinstance(layer.synapses, IntegerDense) and place.axons > AXONS_PER_CORE:
            lines.append(f"{place.name}: {place.axons:,} axons come in, a core has {AXONS_PER_CORE:,}")
    return lines
