"""Operations of neurons and activation functions: multiply-accumulates (MAC) and additions (AC).

NeuroBench counts neuron updates separately from synaptic operations (Yik et al. 2025), and so does `Meter`:
``effective_macs`` and ``effective_acs`` include none of these operations, but the energy models include both. By the
equations in `snn4.policies.dynamics`, every update takes::

    neuron              MACs  ACs
    lif, plif              1    1   decay * v + I; u >= v_threshold
    cuba                   2    1   also syn_decay * i + I
    alif                   2    2   also adapt_decay * a + s; v_threshold + a
    multi, K membranes     K    K   decay_k * v_k + I for each; their sum; sum >= K * v_threshold
    multi with r         2 K    K   also gain_k * I for each, because the gains differ
    li                     1    0   no threshold
    if, signed_if          0    2   v + I; u >= v_threshold; also a population code's neurons

A spike takes 1 AC per membrane with ``reset: soft``, which subtracts, and none with ``reset: hard``, which copies. A
spike of signed_if, +1 or -1, takes one more, for the sum of spikes; whether a number is below 0 is its sign. Four
rules lead to these numbers:

- A comparison is a subtraction whose sign alone is used: 1 AC.
- A product is 1 MAC, even without an addition: a neuron decays even if it receives no input.
- Constants are folded if the spikes stay the same. ``r`` scales a membrane and its threshold, ``v_leak`` shifts both,
  ``adaptation`` scales ``a``, and a mean over K membranes is their sum with K times the threshold.
- A bias is the initial value of the sum of synaptic operations. It is free, as in NeuroBench.

The energy models have no energy for exponentials (tanh, sigmoid, gates of an LSTM), so these are free. This favours
ANNs.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from snn4.policies.dynamics import Dynamics


class Arithmetic(NamedTuple):
    """Operations of one update, one spike or one output."""

    macs: int = 0
    acs: int = 0


def update_arithmetic(dynamics: Dynamics) -> Arithmetic:
    """Operations of one update of one neuron, without the reset, which only spikes need."""
    membranes = len(dynamics.decay)
    synapse, adaptive = dynamics.syn_decay is not None, dynamics.adaptation is not None
    adaptive &= not dynamics.signed  # a sum of spikes, which changes with these alone
    leaks = sum(decay != 1 for decay in dynamics.decay)
    gains = membranes if len(set(dynamics.gain)) > 1 else 0
    threshold = 0 if dynamics.reset == "none" else 1
    integrated = membranes - leaks
    return Arithmetic(leaks + gains + synapse + adaptive, integrated + membranes - 1 + adaptive + threshold)


def spike_arithmetic(dynamics: Dynamics) -> Arithmetic:
    """Operations of the reset after one spike of one neuron."""
    return Arithmetic(acs=(len(dynamics.decay) if dynamics.reset == "soft" else 0) + dynamics.signed)


ACTIVATIONS: dict[type[nn.Module], Arithmetic] = {
    nn.ReLU: Arithmetic(acs=1),
    nn.Hardtanh: Arithmetic(acs=2),  # also ReLU6
    nn.LeakyReLU: Arithmetic(macs=1, acs=1),
    nn.ELU: Arithmetic(acs=1),
    nn.SELU: Arithmetic(macs=1, acs=1),
    nn.GELU: Arithmetic(macs=1),
    nn.SiLU: Arithmetic(macs=1),
    nn.Sigmoid: Arithmetic(),
    nn.Tanh: Arithmetic(),
    nn.Softplus: Arithmetic(),
}
"""Operations per output: comparisons and products, without exponentials."""


def activation_arithmetic(layer: nn.Module) -> Arithmetic:
    """Operations per output of the activation function ``layer``, one of `ACTIVATIONS`."""
    return next(arithmetic for kind, arithmetic in ACTIVATIONS.items() if isinstance(layer, kind))


def gate_arithmetic(layer: nn.RNNBase) -> Arithmetic:
    """Operations per hidden unit and step, without synapses.

    LSTM: ``c = f * c + i * g``, ``h = o * tanh(c)``. GRU: ``n = tanh(W x + r * (U h))``, ``h = n + z * (h - n)``. RNN:
    only its activation function.
    """
    if isinstance(layer, nn.LSTM):
        return Arithmetic(macs=3)
    if isinstance(layer, nn.GRU):
        return Arithmetic(macs=2, acs=1)
    return ACTIVATIONS[nn.ReLU if layer.mode == "RNN_RELU" else nn.Tanh]
