"""One decision after the other on the chip, whose synapses deliver one step later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.integer import Trace, simulate
from snn4.policies.export.integer_network import IntegerNetwork

Driven = Mapping[str, NDArray[Any]]
"""``biases`` (decisions, …) of the first neurons, or spikes ``messages`` (steps, …) for the first synapses."""


def drive(network: IntegerNetwork, signal: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What drives the chip through decisions on a coded input (S, decisions, …)."""
    if network.host is not None:
        return {"biases": network.host.biases(signal)[0]}
    messages = np.zeros((signal.shape[1], network.window, *signal.shape[2:]), np.int32)
    messages[:, : network.T] = signal.swapaxes(0, 1)
    return {"messages": messages.reshape(-1, *messages.shape[2:])}


def on_chip(network: IntegerNetwork, driven: Driven) -> list[Trace]:
    """What every layer does, (steps, 1, …): `IntegerNetwork.window` steps for each decision."""
    layers = network.windowed()
    if "messages" in driven:
        return simulate(layers, len(driven["messages"]), driven["messages"][:, None], delays=True)
    biases = np.repeat(driven["biases"], network.window, 0)[:, None]
    return simulate(layers, len(biases), bias_mant=biases, delays=True)
