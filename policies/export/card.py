"""The deployment card of a bundle: what a network needs on a Loihi chip, and what a decision costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.chip_cost import ChipCost, chip_cost
from snn4.policies.export.host import LARGEST_BIAS
from snn4.policies.export.integer_network import IntegerNetwork, Run
from snn4.policies.export.placement import (
    ADDRESS_BITS,
    AXONS_PER_CORE,
    BYTES_PER_CORE,
    CORES,
    NEURONS_PER_CORE,
    Place,
    exceeded,
    message_shape,
    placed,
)
from snn4.policies.metering.energy import ENERGY_MODELS


def limits(network: IntegerNetwork, signal: NDArray[Any], run: Run) -> list[str]:
    """What exceeds the chip, a line each; empty if nothing does."""
    lines = exceeded(network, placed(network))
    if saturated := int(run.saturated.sum()):
        lines.append(f"readout: saturated in {saturated} of {len(run.saturated)} samples, whose scores are wrong")
    if network.host is not None:
        clipped = float((np.abs(network.host.biases(signal)) == LARGEST_BIAS).mean())
        if clipped:
            lines.append(f"biases of the first layer: {100 * clipped:.2g} % are cut to 13 bits in the samples")
    return lines


def card(
    network: IntegerNetwork, signal: NDArray[Any], about: Mapping[str, Any], joules: Mapping[str, float | None]
) -> str:
    """The card, in Markdown.

    Args:
        signal: coded samples (S, B, …), from which activity and limits come.
        about: the manifest.
        joules: energy of a decision of the trained network at 45 nm, by model.
    """
    run, places = network.run_signal(signal), placed(network)
    cost, over = chip_cost(network, signal), limits(network, signal, run)
    return _TEXT.format(
        name=about["name"], bits=network.bits, T=network.T, window=network.window, layers=network.window - network.T,
        run=about["run"], commit=about["commit_hash"] or "unknown", placement=_placement(places),
        cost=_cost(cost, len(run.scores), joules), over="\n".join(f"- {line}" for line in over) or "Nothing.",
        cores=CORES, neurons=NEURONS_PER_CORE, kilobytes=BYTES_PER_CORE // 1024, axons=AXONS_PER_CORE,
        address=ADDRESS_BITS, inputs=_inputs(network), source=ENERGY_MODELS["loihi1"].source,
    )  # fmt: skip


def _placement(places: Sequence[Place]) -> str:
    rows = [
        [place.name, place.neurons, place.synapses, place.cores, place.neurons_per_core, place.synapses_per_core,
         f"{place.bytes / place.cores / 1024:.1f}"]
        for place in places
    ]  # fmt: skip
    rows.append(["all", *(sum(column) for column in list(zip(*rows, strict=True))[1:4]), "", "", ""])
    head = ["layer", "neurons", "synapses", "cores", "neurons a core", "synapses a core", "KB a core"]
    return _table(head, [[cell if isinstance(cell, str) else f"{cell:,}" for cell in row] for row in rows])


def _cost(cost: ChipCost, samples: int, joules: Mapping[str, float | None]) -> str:
    rows = [
        ["synaptic operations", f"{cost.synaptic_events:,.0f}"],
        ["neuron updates", f"{cost.updates:,.0f}, of which {cost.active_updates:,.0f} active"],
        ["spikes", f"{cost.spikes:,.0f}"],
        ["multiply-accumulates of the host", f"{cost.host_macs:,}"],
        ["Loihi 1 and host, by operation", _energy(cost.joules)],
        *([f"{name.replace('_', ' ')}, trained network", _energy(value)] for name, value in joules.items()),
    ]
    return _table([f"of a decision, mean of {samples} samples", ""], rows)


def _energy(joules: float | None) -> str:
    if joules is None:
        return "-"
    unit, size = next(((unit, size) for unit, size in _UNITS if joules >= size), _UNITS[-1])
    return f"{joules / size:,.3g} {unit}"


_UNITS = (("mJ", 1e-3), ("µJ", 1e-6), ("nJ", 1e-9), ("pJ", 1e-12))


def _inputs(network: IntegerNetwork) -> str:
    if network.host is not None:
        n = int(np.prod(network.layers[0].neurons.shape))
        return f"the host computes {n:,} biases for a decision, and writes them before its first step"
    n = int(np.prod(message_shape(network)))
    return f"the host codes the input ({network.coding}) as spikes on {n:,} axons, in the first {network.T} steps"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


_TEXT = """# {name} on Loihi

From the run `{run}`, with weights of {bits} bits. The exporter's commit is {commit}.

    snn4-agent verify .         compares every spike and action with the integer model
    python3.10 run_lava.py -h   decides and plays on its own; needs lava-nc 0.10.0 and NumPy

## Place

{placement}

Loihi 1 has {cores} cores, each with {neurons:,} neurons, {kilobytes} KB of memory for synapses and {axons:,} incoming
axons. Assumed: a core holds neurons of one layer and their incoming synapses; only weights other than 0 are stored;
convolutions share no weights; a synapse takes the bits of its weight and {address} for the address of its neuron.

## Time

- A decision takes {window} steps: T = {T}, and one for each of the {layers} layers of synapses.
- Input: {inputs}.
- Output: the membranes of the last layer after the last step.

## Cost

{cost}

These are estimates from models, without idle power, clock, and transport of spikes.

- Loihi 1: {source}.
- 45 nm: Horowitz 2014; `memory` adds the traffic of weights, states and spikes.
- Loihi 2: no table of its energy by operation is published, so it is not estimated.

## What exceeds the chip

{over}
"""
