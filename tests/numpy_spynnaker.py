"""The part of PyNN's interface that run_pynn.py uses, in NumPy, with the equations and the order of sPyNNaker.

At each step of 1 ms: weights of spikes that arrive are added to the synapses, neurons update, spike at or above the
threshold and are reset, then synapses decay. The first step has the time 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

populations: list[Population] = []
projections: list[Projection] = []
clock = {"time": 0}


class IF_curr_delta:
    """A spike that arrives raises the membrane by its weight, as a current does in a step of 1 ms with this cm."""

    tau_syn_E = tau_syn_I = None

    def __init__(self, **parameters: Any) -> None:
        assert parameters["tau_refrac"] == 0
        vars(self).update(parameters)


class IF_curr_exp(IF_curr_delta):
    """The current of a spike decays exponentially; its mean during the first step is what its weight says."""


class Population:
    def __init__(self, size: int, cells: IF_curr_delta, label: str) -> None:
        self.size, self.cells, self.label = size, cells, label
        self.parameters: dict[str, Any] = {"i_offset": 0.0}
        self.initial = 0.0
        populations.append(self)
        self.rest()

    def rest(self) -> None:
        self.v = np.full(self.size, self.initial)
        self.synapse = np.zeros(self.size)
        self.spiked: list[np.ndarray] = []

    def initialize(self, v: float) -> None:
        self.initial = v
        self.rest()

    def record(self, what: str) -> None:
        assert what == "spikes"

    def set(self, **parameters: Any) -> None:
        self.parameters |= parameters

    def spinnaker_get_data(self, what: str) -> np.ndarray:
        rows = [(neuron, time) for time, spikes in enumerate(self.spiked) for neuron in np.flatnonzero(spikes)]
        return np.array(rows, float)

    def step(self, arriving: np.ndarray) -> None:
        cells = self.cells
        tau_m, cm = (np.asarray(x, float) for x in (cells.tau_m, cells.cm))
        if cells.tau_syn_E is None:
            self.synapse = arriving
        else:
            self.synapse = self.synapse + arriving * cells.tau_syn_E * (1 - math.exp(-1 / cells.tau_syn_E))
        decay = np.exp(-1 / tau_m)
        target = cells.v_rest + (self.synapse + self.parameters["i_offset"]) * tau_m / cm
        self.v = target - decay * (target - self.v)
        spikes = self.v >= cells.v_thresh
        self.v[spikes] = cells.v_reset
        self.spiked.append(spikes)
        if cells.tau_syn_E is not None:
            self.synapse = self.synapse * math.exp(-1 / cells.tau_syn_E)


class FromListConnector:
    def __init__(self, rows: np.ndarray, column_names: list[str]) -> None:
        assert column_names == ["weight", "delay"]
        self.rows = rows


class Projection:
    def __init__(self, source: Population, target: Population, connector: Any, receptor_type: str) -> None:
        pre, post, weight, delay = connector.rows.T
        assert (weight > 0).all() if receptor_type == "excitatory" else (weight < 0).all()
        assert (delay >= 1).all()
        self.source, self.target, self.delay = source, target, int(delay[0])
        self.weight = np.zeros((target.size, source.size))
        np.add.at(self.weight, (post.astype(int), pre.astype(int)), weight)
        projections.append(self)

    def arriving(self, time: int) -> Any:
        sent = time - self.delay
        return self.weight @ self.source.spiked[sent] if sent >= 0 else 0.0


def setup(timestep: float, min_delay: float) -> None:
    assert timestep == min_delay == 1
    populations.clear()
    projections.clear()
    clock["time"] = 0


def run(milliseconds: float) -> None:
    for _ in range(int(milliseconds)):
        time = clock["time"]
        arriving = {id(population): np.zeros(population.size) for population in populations}
        for projection in projections:
            arriving[id(projection.target)] += projection.arriving(time)
        for population in populations:
            population.step(arriving[id(population)])
        clock["time"] += 1


def reset() -> None:
    clock["time"] = 0
    for population in populations:
        population.rest()


def end() -> None:
    pass
