"""Run the spiking network in this folder on a simulator of PyNN; this needs PyNN and NumPy alone.

    python run_pynn.py --simulator nest
    python run_pynn.py --simulator spynnaker --inputs observations.npy --out decisions.npz

The host computes the currents of the first neurons (``i_offset``) and reads the scores from the spikes of the last
ones. Everything between runs on the simulator. docs/spinnaker.md of snn4-agent says what the files hold.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
MODULES = {"nest": "pyNN.nest", "spynnaker": "spynnaker.pyNN"}
CLOCK = "clock"  # a neuron that spikes at every step: it brings the biases, and shows when the simulator's steps are
SILENCING = -1e6


class Connection:
    """Weights (pre, post, weight) and a bias: of the host, or between two populations."""

    def __init__(self, arrays: dict[str, Any], name: str) -> None:
        self.pre, self.post, self.weight = (arrays[f"{name}.{part}"] for part in ("pre", "post", "weight"))

    def __call__(self, x: Any, n_out: int) -> Any:
        return np.bincount(self.post, self.weight * x[self.pre], n_out)


class Network:
    """The network on a simulator: built once, then run for one decision after the other."""

    def __init__(self, about: Any, arrays: dict[str, Any], simulator: str) -> None:
        self.about, self.arrays, self.simulator = about, arrays, simulator
        self.sim: Any = importlib.import_module(MODULES[simulator])
        # In NEST, the membrane of IF_curr_exp sees the synapse's current of the step before: one more step of delay.
        self.latency = {"IF_curr_delta": 1, "IF_curr_exp": 2 if simulator == "nest" else 1}
        self.cells = {population["name"]: population for population in about["populations"]}
        self.offset = {CLOCK: 0}  # steps by which each population runs behind the first one
        for name, cell in self.cells.items():
            sources = [p["source"] for p in about["projections"] if p["target"] == name and p["source"] != CLOCK]
            self.offset[name] = max((self.offset[s] + self.latency[cell["cell_type"]] for s in sources), default=0)
        self.window = about["steps"] + max(self.offset.values())
        self.recorded = False  # whether the simulator returned the spikes of the last decision
        self.build()

    def build(self) -> None:
        options: dict[str, Any] = {}
        if self.simulator == "nest":
            # PyNN 0.13 lacks these two lines; without them, membranes start at -70 mV.
            self.sim.IF_curr_delta.variable_map = {"v": "V_m"}
            self.sim.IF_curr_delta.scale_factors = {"v": 1}
            tau = max(cell["parameters"].get("tau_syn_E", 0.0) for cell in self.cells.values())
            options = {"spike_precision": "on_grid", "t_flush": self.window + np.ceil(40 * tau)}
        self.sim.setup(timestep=self.about["timestep_ms"], min_delay=self.about["timestep_ms"], **options)
        self.populations: dict[str, Any] = {}
        for name, cell in [(CLOCK, self.about["clock"]), *self.cells.items()]:
            model = getattr(self.sim, cell["cell_type"])(**cell["parameters"])
            self.populations[name] = self.sim.Population(cell["size"], model, label=name)
            self.populations[name].initialize(v=0.0)
            self.populations[name].record("spikes")
        for projection in self.about["projections"]:
            self.connect(projection["source"], projection["target"])

    def connect(self, source: str, target: str) -> None:
        connection = Connection(self.arrays, f"{source}->{target}")
        cell = self.cells[target]
        delay = self.offset[target] - self.offset[source] - (self.latency[cell["cell_type"]] - 1)
        weight = connection.weight * self.weight_scale(cell)
        for receptor, chosen in (("excitatory", weight > 0), ("inhibitory", weight < 0)):
            if chosen.any():
                delays = np.full(chosen.sum(), delay * self.about["timestep_ms"])
                rows = np.stack([connection.pre[chosen], connection.post[chosen], weight[chosen], delays], 1)
                connector = self.sim.FromListConnector(rows, column_names=["weight", "delay"])
                ends = self.populations[source], self.populations[target]
                self.sim.Projection(*ends, connector, receptor_type=receptor)

    def weight_scale(self, cell: Any) -> float:
        """What a weight is multiplied by, so that a spike raises the membrane by the weight."""
        if cell["cell_type"] == "IF_curr_delta":
            return 1.0
        tau_m, tau_syn, cm = (cell["parameters"][name] for name in ("tau_m", "tau_syn_E", "cm"))
        if self.simulator == "spynnaker":
            return float(1 / (tau_syn * -np.expm1(-1 / tau_syn)))
        rate = 1 / tau_syn - 1 / tau_m
        share = -np.expm1(-rate) / rate if rate else 1.0
        return float(cm / (np.exp(-1 / tau_m) * share))

    def decide(self, x: Any) -> tuple[Any, dict[str, Any]]:
        """Scores (n,) for one input as the environment gives it, and the spikes (steps, n) of each population."""
        x = (x.ravel() - self.arrays["input.mean"]) / self.arrays["input.std"]
        x = np.clip(x, -self.about["input"]["clip"], self.about["input"]["clip"]) if self.about["input"]["clip"] else x
        self.run(x)
        first = self.spike_times(CLOCK)[1].min(initial=np.inf)
        self.recorded = first < np.inf
        spikes = {name: self.spikes(name, first + self.offset[name]) for name in self.cells}
        self.rest()
        return self.scores(spikes), spikes

    def run(self, x: Any) -> None:
        """Simulate a decision. The currents of the first neurons are constant, or filtered by synapses on the host."""
        for population in self.populations.values():
            population.set(i_offset=0.0)
        decays = {drive["target"]: drive["syn_decay"] for drive in self.about["drives"]}
        currents = {name: self.current(name, x) for name in decays}
        filtered, runs = {name: current.copy() for name, current in currents.items()}, [self.window]
        if any(decays.values()):
            runs = [1] * (self.window + 1)  # one more, because NEST records late
            self.sim.run(self.about["timestep_ms"])  # in NEST, PyNN's first run takes two steps: here, at rest
        self.populations[CLOCK].set(i_offset=self.about["clock"]["i_offset"])
        for steps in runs:
            for name, decay in decays.items():
                self.populations[name].set(i_offset=filtered[name])
                filtered[name] = decay * filtered[name] + currents[name]
            self.sim.run(steps * self.about["timestep_ms"])

    def current(self, name: str, x: Any) -> Any:
        """What the host's synapses give to first neurons (n,), in mV per step."""
        connection = Connection(self.arrays, f"input->{name}")
        return connection(x, self.cells[name]["size"]) + self.arrays[f"input->{name}.bias"]

    def spike_times(self, name: str) -> tuple[Any, Any]:
        """Indices and times in steps of all spikes of a population in this decision."""
        if self.simulator == "spynnaker":  # get_data would return the decisions before, too
            spikes = self.populations[name].spinnaker_get_data("spikes").reshape(-1, 2)
            return spikes[:, 0].astype(int), np.rint(spikes[:, 1] / self.about["timestep_ms"])
        trains = self.populations[name].get_data("spikes", clear=True).segments[-1].spiketrains
        indices = [np.full(len(train), train.annotations["source_index"]) for train in trains]
        times = [np.asarray(train, float) / self.about["timestep_ms"] for train in trains]
        return np.concatenate([[], *indices]).astype(int), np.rint(np.concatenate([[], *times]))

    def spikes(self, name: str, start: float) -> Any:
        indices, times = self.spike_times(name)
        spikes = np.zeros((self.about["steps"], self.cells[name]["size"]), bool)
        counted = (times >= start) & (times < start + len(spikes))
        spikes[(times[counted] - start).astype(int), indices[counted]] = True
        return spikes

    def rest(self) -> None:
        """Back to rest. NEST keeps spikes that are under way: they reach silenced neurons before they are reset."""
        if self.simulator == "nest":
            for population in self.populations.values():
                population.set(i_offset=SILENCING)
        self.sim.reset()

    def scores(self, spikes: dict[str, Any]) -> Any:
        scores = self.arrays["readout.bias"].copy()
        for name in self.about["readout"]:
            value = self.arrays["readout.steps"] @ spikes[name]
            scores += Connection(self.arrays, f"{name}->readout")(value, len(scores))
        return scores


def action(about: Any, scores: Any) -> Any:
    """What the scores mean: the number of an action or class, or the values of a continuous action."""
    actions = about["actions"]
    if actions is None or actions["kind"] == "discrete":
        return int(scores.argmax())
    low, high = np.array(actions["low"]), np.array(actions["high"])
    if actions["squashed"]:
        return (low + 0.5 * (np.tanh(scores) + 1) * (high - low)).reshape(actions["shape"])
    return scores.clip(low, high).reshape(actions["shape"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the spiking network in this folder on a simulator of PyNN.")
    parser.add_argument("--simulator", choices=MODULES, default="spynnaker")
    parser.add_argument("--inputs", type=Path, help="inputs (N, …) in an .npy file; default: examples.npz")
    parser.add_argument("--decisions", type=int, help="only the first ones")
    parser.add_argument("--out", type=Path, help="write scores and spikes of each decision to this .npz file")
    arguments = parser.parse_args()
    about = json.loads((HERE / "network.json").read_text(encoding="utf-8"))
    arrays = dict(np.load(HERE / "network.npz"))
    examples = np.load(HERE / "examples.npz")
    inputs = np.load(arguments.inputs) if arguments.inputs else examples["inputs"]
    network = Network(about, arrays, arguments.simulator)
    decisions = []
    for number, x in enumerate(inputs[: arguments.decisions]):
        scores, spikes = network.decide(np.asarray(x, np.float64))
        decisions.append((scores, spikes))
        line = f"decision {number + 1}: {action(about, scores)}, {sum(s.sum() for s in spikes.values())} spikes"
        if not network.recorded:
            line = f"decision {number + 1}: nothing was recorded, not even the clock; a virtual board records nothing"
        elif not arguments.inputs:
            line += f"; the network in float: {action(about, examples['scores'][number])}"
        print(line, flush=True)
    network.sim.end()
    if arguments.out:
        recorded: dict[str, Any] = {name: np.array([spikes[name] for _, spikes in decisions]) for name in network.cells}
        np.savez_compressed(arguments.out, scores=np.array([scores for scores, _ in decisions]), **recorded)


if __name__ == "__main__":
    main()
