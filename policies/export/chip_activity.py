"""What an integer network does over many decisions: spikes, synaptic operations, agreement with float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.chip_cost import chip_cost
from snn4.policies.export.integer_network import IntegerNetwork, Run
from snn4.policies.export.placement import crossed

SAMPLES = 100
"""Decisions whose neuron updates are counted for energy, one of each batch: the chip takes them one after the other."""


class ChipActivity:
    """Sums over the decisions of ``network`` that `add` has seen."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self.decisions = 0
        self.saturated = 0
        """Decisions whose readout reached the end of its range."""
        self._spikes = self._crossings = self._agreement = 0.0
        self._equal = np.zeros(len(network.layers) - 1)
        self._samples = list[NDArray[Any]]()

    def add(self, run: Run, trains: Sequence[NDArray[Any]], agreement: NDArray[np.float64]) -> None:
        """Count B decisions.

        Args:
            trains: spikes (T, B, …) of each layer but the readout, of the network in float.
            agreement: of each decision with the one in float (B,), 1 if it is the same.
        """
        n = len(run.scores)
        self.decisions += n
        if len(self._samples) < SAMPLES:
            self._samples.append(run.signal[:, :1])
        self.saturated += int(run.saturated.sum())
        self._agreement += float(agreement.sum())
        for number, (trace, train) in enumerate(zip(run.traces, trains, strict=False)):
            self._spikes += float(trace.spikes.sum())
            self._equal[number] += n * float(np.mean(trace.spikes == train))
        sent = [run.signal != 0, *(trace.spikes for trace in run.traces)]
        for layer, spikes in zip(self.network.layers, sent, strict=False):
            if layer.synapses is not None:
                self._crossings += float(crossed(layer.synapses, spikes).sum())

    def costs(self) -> dict[str, Any]:
        """Means per decision, with the names of `Cost`; energies at 45 nm are those of other hardware."""
        n = max(self.decisions, 1)
        cost = chip_cost(self.network, np.concatenate(self._samples, 1))
        return {
            "spikes_per_decision": self._spikes / n,
            "effective_acs": self._crossings / n,
            "effective_macs": float(cost.host_macs),
            "energy_joules": {"loihi1": cost.joules},
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
