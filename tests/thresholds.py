"""How far membranes stay from their thresholds: where none is near, rounding decides no spike."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from snn4.policies.dynamics import Dynamics, NeuronState
from snn4.policies.neurons import Neuron
from snn4.policies.scan import reference_scan

NEAR = 1e-5
"""Above what float32 makes of membranes and thresholds of about 1 in some tens of steps."""


def distance(
    current: Tensor, state: NeuronState, dynamics: Dynamics, decay: Any = None, steps: int | None = None
) -> float:
    """The smallest |u - threshold| of a layer, by the plain loop in float64; infinity where nothing spikes."""
    if dynamics.reset == "none":
        return float("inf")
    silent, smallest = dynamics._replace(reset="none"), float("inf")
    current, state = current.detach().double(), state.map(lambda part: part.detach().double())
    decay = None if decay is None else decay.detach().double()
    for t in range(steps or len(current)):
        now = current[t : t + 1] if len(current) > 1 else current
        adaptation = 0.0 if state.a is None or dynamics.adaptation is None else dynamics.adaptation * state.a
        u, _ = reference_scan(now, state, silent, decay=decay)
        smallest = min(smallest, (u - dynamics.v_threshold - adaptation).abs().min().item())
        _, state = reference_scan(now, state, dynamics, decay=decay)
    return smallest


def distance_of(neuron: Neuron, current: Tensor, state: NeuronState | None = None) -> float:
    """The same of a layer of neurons."""
    start = neuron.initial_state(current) if state is None else state
    if neuron.decay_logit is None:
        return distance(current, start, neuron.dynamics)
    (decay,), (gain,), (leak,) = (factor.detach().double() for factor in neuron.factors())
    plain = neuron.dynamics._replace(gain=(1.0,), leak=(0.0,))
    return distance(gain * current.detach() + leak, start, plain, decay)
