"""SpiNNaker: a network in the terms of PyNN, as lists of synapses, JSON and a script that runs them on a simulator."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snn4.policies.export.description import INPUT, Description, Layer, Neurons, NotExportable
from snn4.policies.export.lava import npz
from snn4.policies.export.normalization import Normalization
from snn4.policies.export.synapses import Synapses, synapses_between
from snn4.policies.neurons import NeuronConfig, dynamics

FORMAT = 1
"""Of network.json: it counts up when scripts of before can no longer read it."""
TIMESTEP = 1.0
"""Milliseconds of a step on the simulator, whatever ``dt`` the neurons were trained with."""
MILLIVOLTS = 16.0
"""For 1 of the trained membrane. SpiNNaker's membranes have 15 bits after the point: this gives them 4 bits more. A
power of two changes no rounding in float."""
CLOCK, READOUT = "clock", "readout"
SCRIPT = Path(__file__).with_name("run_pynn.py")

Arrays = dict[str, NDArray[Any]]


class Examples(NamedTuple):
    """Inputs, and what the network in float makes of them."""

    inputs: NDArray[np.float32]
    """(N, …), before they are normalised."""
    scores: NDArray[np.float32]
    """(N, n)."""


def pynn_files(
    name: str, description: Description, normalization: Normalization | None, examples: Examples
) -> dict[str, bytes]:
    """The files of a bundle by name: network.npz, network.json, examples.npz and run_pynn.py.

    Raises:
        NotExportable: see `pynn_network`.
    """
    arrays, about = pynn_network(name, description, normalization)
    return {
        "network.npz": npz(arrays),
        "network.json": (json.dumps(about, indent=1) + "\n").encode(),
        "examples.npz": npz(examples._asdict()),
        SCRIPT.name: SCRIPT.read_bytes(),
    }


def pynn_network(
    name: str, description: Description, normalization: Normalization | None = None
) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of network.npz and the content of network.json.

    Weights, biases and thresholds are in millivolts: PyNN's ``i_offset`` and ``cm`` are chosen so that a current raises
    the membrane by its value in one step.

    Raises:
        NotExportable: for codes, neurons and layers that PyNN's LIF on SpiNNaker cannot do; the message names the
            nearest that it can.
    """
    if description.coding.kind != "direct":
        raise NotExportable(f"coding: got {description.coding.kind}, allowed is direct; train with coding direct")
    neurons = {layer.name: layer for layer in description.neurons()}
    for layer in neurons.values():
        _require_exact(layer)
    driven = synapses_between(description)
    arrays: Arrays = {}
    populations, drives, projections = [], [], []
    for place, layer in neurons.items():
        synapses = driven[place]
        drives += _drive(layer, synapses, arrays)
        projections += _projections(layer, synapses, arrays)
        populations.append(_population(layer, on_host=INPUT in synapses.sources))
    about = {
        "format": FORMAT,
        "name": name,
        "timestep_ms": TIMESTEP,
        "steps": description.T,
        "millivolts_per_unit": MILLIVOLTS,
        "input": {"shape": description.input_shape, "clip": normalization.clip if normalization else None},
        "clock": _clock(),
        "populations": populations,
        "drives": drives,
        "projections": projections,
        "readout": _readout(description, driven, arrays),
        "actions": description.actions and vars(description.actions),
        "classes": description.classes,
    }
    return {**arrays, **_normalization(description, normalization)}, about


def _require_exact(layer: Layer) -> None:
    """Raise NotExportable for neurons whose equation PyNN's IF_curr_delta and IF_curr_exp do not have."""
    assert isinstance(layer.part, Neurons)
    config = layer.part.config
    if config.kind not in ("lif", "plif", "cuba"):
        raise NotExportable(f"{layer.name}: got kind {config.kind}, allowed are lif, plif, cuba; train with kind: lif")
    if config.reset != "hard":
        raise NotExportable(
            f"{layer.name}: got reset {config.reset}, allowed is hard; finetune it: snn4-agent run RUN/config.yaml "
            "policy.neuron.reset=hard policy.initial=RUN (a classifier: network.neuron.reset=hard initial=RUN)"
        )
    for name in ("v_reset", "v_leak"):
        if getattr(config, name) != 0:
            raise NotExportable(f"{layer.name}: got {name} {getattr(config, name)}, allowed is 0; train with {name}: 0")


def _population(layer: Layer, on_host: bool) -> dict[str, Any]:
    """Neurons with PyNN's parameters; the host computes the synapses of the first ones, so those are plain LIF."""
    assert isinstance(layer.part, Neurons)
    config, decay = layer.part.config, layer.part.decay.astype(np.float64)
    if decay.size > 1:
        decay = np.broadcast_to(decay, layer.shape).ravel()
    elif config.kind != "plif":  # not the rounded float32
        decay = np.array([config.decay])
    tau_m = -TIMESTEP / np.log(decay)
    parameters = {
        "tau_m": _plain(tau_m),
        "cm": _plain(tau_m * (1 - decay) / TIMESTEP),
        "v_rest": 0.0,
        "v_reset": 0.0,
        "v_thresh": config.v_threshold * MILLIVOLTS,
        "tau_refrac": 0.0,
    }
    with_synapses = config.kind == "cuba" and not on_host
    if with_synapses:
        tau_syn = config.tau_syn / config.dt * TIMESTEP
        parameters |= {"tau_syn_E": tau_syn, "tau_syn_I": tau_syn}
    cell_type = "IF_curr_exp" if with_synapses else "IF_curr_delta"
    return {"name": layer.name, "size": math.prod(layer.shape), "cell_type": cell_type, "parameters": parameters}


def _clock() -> dict[str, Any]:
    """A neuron that spikes at every step."""
    neuron = Neurons(NeuronConfig(v_threshold=1.0, reset="hard"), np.ones(1, np.float32))
    return {**_population(Layer(CLOCK, neuron, (), (1,)), on_host=True), "i_offset": 2 * MILLIVOLTS}


def _drive(layer: Layer, synapses: Synapses, arrays: Arrays) -> list[dict[str, Any]]:
    """The currents of first neurons, which the host computes."""
    if INPUT not in synapses.sources:
        return []
    if len(synapses.sources) > 1:
        got = ", ".join(synapses.sources)
        raise NotExportable(f"{layer.name}: got the inputs {got}, allowed is {INPUT} alone; take a network without it")
    assert isinstance(layer.part, Neurons)
    config, gain = layer.part.config, _gain(layer)
    _add(f"{INPUT}->{layer.name}", synapses.sources[INPUT], gain, arrays)
    arrays[f"{INPUT}->{layer.name}.bias"] = synapses.bias * gain
    decay = dynamics(config).syn_decay
    return [{"target": layer.name, "syn_decay": decay if decay is not None else 0.0}]


def _projections(layer: Layer, synapses: Synapses, arrays: Arrays) -> list[dict[str, Any]]:
    """The synapses of deeper neurons; the clock brings their biases, which begin with their first input."""
    if INPUT in synapses.sources:
        return []
    sources = {**synapses.sources, CLOCK: synapses.bias[:, None]}
    counts = {name: _add(f"{name}->{layer.name}", matrix, _gain(layer), arrays) for name, matrix in sources.items()}
    return [{"source": name, "target": layer.name, "synapses": n} for name, n in counts.items() if n]


def _add(name: str, matrix: Any, gain: NDArray[np.float64], arrays: Arrays) -> int:
    """Add the list of synapses of ``matrix`` (n_out, n_in) to ``arrays``; returns their number."""
    entries = sparse.coo_matrix(matrix)
    entries.eliminate_zeros()
    pre, post = entries.col.astype(np.int32), entries.row.astype(np.int32)
    arrays |= {f"{name}.pre": pre, f"{name}.post": post, f"{name}.weight": entries.data * gain[post]}
    return len(pre)


def _gain(layer: Layer) -> NDArray[np.float64]:
    """Millivolts (n,) by which a current of 1 raises a membrane in its first step."""
    assert isinstance(layer.part, Neurons)
    config = layer.part.config
    decay = np.broadcast_to(layer.part.decay.astype(np.float64), layer.shape).ravel()
    gain = np.ones_like(decay) if config.r is None else config.r * (1 - decay)
    return MILLIVOLTS * gain * (dynamics(config).syn_gain if config.kind == "cuba" else 1.0)


def _readout(description: Description, driven: dict[str, Synapses], arrays: Arrays) -> list[str]:
    """The populations from whose spikes the host reads the scores."""
    scores = driven[description.layers[-1].name]
    if INPUT in scores.sources or isinstance(description.layers[-1].part, Neurons):
        raise NotExportable("scores: allowed are linear layers after the last neurons; take a network that has them")
    for name, matrix in scores.sources.items():
        _add(f"{name}->{READOUT}", matrix, np.ones(len(scores.bias)), arrays)
    arrays |= {f"{READOUT}.bias": scores.bias, f"{READOUT}.steps": description.readout.astype(np.float64)}
    return list(scores.sources)


def _normalization(description: Description, given: Normalization | None) -> Arrays:
    """Mean and standard deviation of each value of an input, flattened."""
    mean, std = (given.mean, given.std) if given else (np.zeros(1), np.ones(1))
    shape = description.input_shape
    return {f"{INPUT}.mean": np.broadcast_to(mean, shape).ravel(), f"{INPUT}.std": np.broadcast_to(std, shape).ravel()}


def _plain(values: NDArray[np.float64]) -> float | list[float]:
    """One number where all are equal, else a list."""
    return float(values.flat[0]) if (values == values.flat[0]).all() else values.tolist()
