"""What an integer network does over many decisions: spikes, synaptic operations, agreement with float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.description import Conv, Dense
from snn4.policies.export.integer import IntegerConv, IntegerDense, Ints
from snn4.policies.export.integer_network import IntegerNetwork, Run


class ChipActivity:
    """Sums over the decisions of ``network`` that `add` has seen."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self.decisions = 0
        self.saturated = 0
        """Decisions whose readout reached the end of its range."""
        self._spikes = self._crossings = self._agreement = 0.0
        self._equal = np.zeros(len(network.layers) - 1)

    def add(self, run: Run, trains: Sequence[NDArray[Any]], agreement: NDArray[np.float64]) -> None:
        """Count B decisions.

        Args:
            trains: spikes (T, B, …) of each layer but the readout, of the network in float.
            agreement: of each decision with the one in float (B,), 1 if it is the same.
        """
        n = len(run.scores)
        self.decisions += n
        self.saturated += int(run.saturated.sum())
        self._agreement += float(agreement.sum())
        for number, (trace, train) in enumerate(zip(run.traces, trains, strict=False)):
            self._spikes += float(trace.spikes.sum())
            self._equal[number] += n * float(np.mean(trace.spikes == train))
            self._crossings += crossings(self.network.layers[number + 1].synapses, trace.spikes)

    def costs(self) -> dict[str, Any]:
        """Means per decision, with the names of `Cost`; energies at 45 nm are those of other hardware."""
        n = max(self.decisions, 1)
        return {
            "spikes_per_decision": self._spikes / n,
            "effective_acs": self._crossings / n,
            "effective_macs": float(host_operations(self.network)),
            "energy_joules": {},
        }

    def agreement(self) -> dict[str, Any]:
        """Shares of equal spikes by layer, and of equal decisions."""
        names = [layer.name for layer in self.network.layers]
        n = max(self.decisions, 1)
        return {
            "compared": self.decisions,
            "decisions": self._agreement / n,
            "spikes": {name: float(equal / n) for name, equal in zip(names, self._equal, strict=False)},
        }


def crossings(synapses: IntegerDense | IntegerConv | None, spikes: Ints) -> float:
    """How many synapses with a weight the ``spikes`` (T, B, …) cross."""
    if synapses is None:
        return 0.0
    ones = synapses._replace(weight=(synapses.weight != 0).astype(np.int32))
    if isinstance(ones, IntegerDense):
        ones = ones._replace(bits=8, sign="excitatory", exponent=0)
    return float(ones.currents(spikes).sum())


def host_operations(network: IntegerNetwork) -> int:
    """Multiplications of the host's weights per decision."""
    layers = network.host.layers if network.host else ()
    pixels = {layer.name: int(np.prod(layer.shape[1:])) for layer in layers}
    weights = {layer.name: layer.part.weight.size for layer in layers if isinstance(layer.part, (Dense, Conv))}
    return sum(size * pixels[name] for name, size in weights.items())
