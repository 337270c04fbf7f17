"""A spiking network in Loihi's integers: what the chip and its host compute, decision by decision."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.description import Actions
from snn4.policies.export.host import Doubles, Host
from snn4.policies.export.integer import LARGEST_STATE, IntegerLayer, Ints, Trace, simulate


class Readout(NamedTuple):
    """How the membranes of the last layer, which never spikes, become scores."""

    factor: float
    """Score for one in v after the last step."""
    start: int = 0
    """Steps that it does not count: its membranes are reset after them."""

    def scores(self, v: Ints) -> Doubles:
        """Scores (B, n) of membranes (B, n)."""
        return v * self.factor


class Run(NamedTuple):
    """A decision on each of B inputs."""

    scores: Doubles
    """(B, n)."""
    traces: list[Trace]
    """What every layer did at T steps."""
    signal: NDArray[Any]
    """The coded inputs (1 or T, B, …): currents for the host, or spikes."""

    @property
    def saturated(self) -> NDArray[np.bool_]:
        """Whether the readout of an input reached the end of its range, so that its scores are wrong (B,)."""
        readout = self.traces[-1]
        return np.asarray((readout.spikes | (readout.v == 1 - LARGEST_STATE)).any((0, 2)))


@dataclass(frozen=True)
class IntegerNetwork:
    """The network of a `Description` on Loihi.

    Every decision starts from rest and takes T steps. On the chip, synapses deliver one step later, so a decision takes
    `window` = T + L steps with L layers of synapses, after which the neurons reset themselves (`windowed`).
    """

    layers: tuple[IntegerLayer, ...]
    """The last one is the readout. With a host, the first one has no synapses: biases drive it."""
    readout: Readout
    scales: tuple[float, ...]
    """Of each layer: units for 1 in float; ``v = 64 * scale * v_float``."""
    T: int
    host: Host | None
    """None if a code makes spikes, which the first synapses receive."""
    input_shape: tuple[int, ...]
    """(n,) values of an observation; or (C, H, W) of an image, normalised."""
    bits: int
    """Of a weight, with its sign."""
    encode: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
    """The signal (S, B, …) of inputs (B, …), with S = 1 or T; None is the code ``direct``, or a code left behind."""
    coding: str = "direct"
    """Name of the code."""
    actions: Actions | None = None
    """Of policies."""
    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    """Of each channel, subtracted from images in 0 to 1."""
    std: tuple[float, ...] | None = None
    """Of each channel; the difference is then divided by it."""

    def run(self, inputs: NDArray[Any]) -> Run:
        """Decide on inputs (B, …)."""
        if self.encode is not None:
            return self.run_signal(self.encode(inputs.astype(np.float32)))
        if self.coding != "direct":
            raise ValueError(f"encode: got None, allowed with the code {self.coding} is its function; or run a signal")
        return self.run_signal(inputs[None])

    def run_signal(self, signal: NDArray[Any]) -> Run:
        """Decide on a coded input: currents (1 or T, B, …) for the host, or spikes (T, B, …)."""
        messages, biases = (None, self.host.biases(signal)) if self.host else (signal.astype(np.int32), None)
        traces = simulate(self.windowed(delays=False), self.T, messages, biases)
        return Run(self.readout.scores(traces[-1].v[-1]), traces, signal)

    @property
    def window(self) -> int:
        """Steps of a decision on the chip, T + L."""
        return self.T + sum(layer.synapses is not None for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Weights and biases, on the chip and on its host."""
        parts: list[Any] = [layer.part for layer in self.host.layers] if self.host else []
        sizes = [part.weight.size + part.bias.size for part in parts if hasattr(part, "weight")]
        for layer in self.layers:
            sizes += [0 if layer.synapses is None else layer.synapses.weight.size, layer.neurons.bias_mant.size]
        return sum(sizes)

    def windowed(self, delays: bool = True) -> tuple[IntegerLayer, ...]:
        """The layers with resets before each decision, for one decision after the other on the chip.

        A decision takes `window` steps. Its biases apply at all of them, or its spikes come at the first T, and then
        none. The membranes of the readout are right at its last step.

        Args:
            delays: False for synapses without delays: a decision then takes T steps.
        """
        layers, depth = list[IntegerLayer](), 0
        interval = self.window if delays else self.T
        for layer in self.layers:
            depth += delays and layer.synapses is not None
            last = len(layers) == len(self.layers) - 1
            offset = 1 + depth + (self.readout.start if last else 0)
            neurons = layer.neurons._replace(reset_interval=interval, reset_offset=offset)
            layers.append(layer._replace(neurons=neurons))
        return tuple(layers)

    def without_code(self) -> IntegerNetwork:
        """The same network without its function `encode`, which no file holds."""
        return dataclasses.replace(self, encode=None)
