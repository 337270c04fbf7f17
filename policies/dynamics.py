"""Dynamics of neurons: the constants of their equations, and their state between steps.

For every neuron and step:

    i[t]   = syn_decay * i[t-1] + syn_gain * I[t]                   I[t] itself without a synapse
    u_k[t] = decay_k * v_k[t-1] + (gain_k * i[t] + leak_k)          for each membrane k
    u[t]   = mean_k u_k[t]
    x[t]   = u[t] - (v_threshold + adaptation * a[t-1])
    s[t]   = 1 if x[t] >= 0 else 0                                  the output; u[t] itself with reset none
    v_k[t] = u_k[t] - s[t] * v_threshold                            reset soft; hard: v_reset where s[t] else u_k[t]
    a[t]   = adapt_decay * a[t-1] + s[t]

A signed neuron has s[t] = -1 if ``u[t] < 0`` and ``a[t-1] > 0``; its adaptation is 0, and its a the sum of its spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Dynamics(NamedTuple):
    """Constants of the equations above. Decays are the fractions that remain after one step."""

    decay: tuple[float, ...]
    """Of each membrane."""
    gain: tuple[float, ...] = (1.0,)
    """Rise of each membrane in one step per unit of current."""
    leak: tuple[float, ...] = (0.0,)
    """Rise of each membrane in one step without a current."""
    v_threshold: float = 1.0
    reset: str = "soft"
    """soft, hard, or none: a leaky integrator, which does not spike."""
    v_reset: float = 0.0
    syn_decay: float | None = None
    """Of the synaptic current; None without a synapse."""
    syn_gain: float = 1.0
    adaptation: float | None = None
    """Rise of the threshold per spike; None where it does not adapt."""
    adapt_decay: float = 0.0
    surrogate: str = "arctan"
    """One of `snn4.policies.surrogate.SURROGATES`."""
    slope: float = 2.0
    signed: bool = False


class NeuronState(NamedTuple):
    """State of a layer between steps, in float32 or wider; a part that the neuron does not have is None."""

    v: Tensor
    """Membrane after the reset: (B, …), or (K, B, …) for a neuron with K membranes."""
    i: Tensor | None = None
    """Synaptic current (B, …)."""
    a: Tensor | None = None
    """Adaptation of the threshold (B, …)."""

    def map(self, function: Callable[[Tensor], Tensor]) -> NeuronState:
        """The state with ``function`` applied to every part that is not None."""
        i, a = (None if part is None else function(part) for part in (self.i, self.a))
        return NeuronState(function(self.v), i, a)

    def detach(self) -> NeuronState:
        """The same values without their history, as truncated backpropagation through time needs them."""
        return self.map(Tensor.detach)


def rest_state(current: Tensor, dynamics: Dynamics, v_rest: float = 0.0) -> NeuronState:
    """Membranes at ``v_rest``, synapses and adaptation at zero, for input ``current`` (T, B, …)."""
    membranes, zero = len(dynamics.decay), current.new_zeros(current.shape[1:], dtype=state_dtype(current))
    shape = zero.shape if membranes == 1 else (membranes, *zero.shape)
    return NeuronState(
        zero.new_full(shape, v_rest),
        None if dynamics.syn_decay is None else zero,
        None if dynamics.adaptation is None else torch.zeros_like(zero),
    )


def state_to_rows(state: NeuronState, dynamics: Dynamics) -> Tensor:
    """A copy of ``state`` in one tensor (rows, B, …): membranes, then synapse, then adaptation."""
    v = state.v.unsqueeze(0) if len(dynamics.decay) == 1 else state.v
    return torch.cat([v, *(part.unsqueeze(0) for part in (state.i, state.a) if part is not None)])


def state_from_rows(rows: Tensor, dynamics: Dynamics) -> NeuronState:
    """The state from the ``rows`` of `state_to_rows`, as views of them."""
    k = len(dynamics.decay)
    i = None if dynamics.syn_decay is None else rows[k]
    return NeuronState(rows[0] if k == 1 else rows[:k], i, None if dynamics.adaptation is None else rows[-1])


def state_dtype(current: Tensor) -> torch.dtype:
    """Precision of the states for ``current``: the same precision, but float32 for half precision."""
    return torch.float32 if current.dtype in (torch.bfloat16, torch.float16) else current.dtype
