"""Operations of neurons and activation functions: multiply-accumulates (MAC) and additions (AC).

NeuroBench counts the updates of neurons apart from synaptic operations (Yik et al. 2025), and so does `Meter`: nothing
here is part of ``effective_macs`` and ``effective_acs``, but the energy models price both. Of the equations in
`snn4.policies.dynamics`, every update takes::

    neuron              MACs  ACs
    lif, plif              1    1   decay * v + I; u >= v_threshold
    cuba                   2    1   also syn_decay * i + I
    alif                   2    2   also adapt_decay * a + s; v_threshold + a
    multi, K membranes     K    K   decay_k * v_k + I for each; their sum; sum >= K * v_threshold
    multi with r         2 K    K   also gain_k * I for each, as the gains differ
    li                     1    0   no threshold
    a decay of 1           0    2   v + I; u >= v_threshold: a population code's neurons

and every spike 1 AC for each membrane with ``reset: soft``, which subtracts, and nothing with ``reset: hard``, which
copies. Four rules lead to these numbers:

- A comparison is a subtraction of which only the sign is used: 1 AC.
- A product is 1 MAC, also where nothing is added to it: a neuron that receives nothing decays all the same.
- Constants are folded where the spikes stay the same. ``r`` scales a membrane and its threshold, ``v_leak`` shifts
  both, ``adaptation`` scales ``a``, and a mean over K membranes is their sum with K times the threshold.
- A bias is the value from which the sum of a synapse's operations starts, and is free, as it is for NeuroBench.

Exponentials (tanh, sigmoid, gates of an LSTM) have no price among those that the energy models know, and are free. That
is in favour of ANNs.
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
    """Operations of one update of one neuron; the reset, which only spikes need, is not among them."""
    membranes, synapse, adaptive = len(dynamics.decay), dynamics.syn_decay is not None, dynamics.adaptation is not None
    leaks = sum(decay != 1 for decay in dynamics.decay)
    gains = membranes if len(set(dynamics.gain)) > 1 else 0
    threshold = 0 if dynamics.reset == "none" else 1
    integrated = membranes - leaks
    return Arithmetic(leaks + gains + synapse + adaptive, integrated + membranes - 1 + adaptive + threshold)


def spike_arithmetic(dynamics: Dynamics) -> Arithmetic:
    """Operations of the reset after one spike of one neuron."""
    return Arithmetic(acs=len(dynamics.decay) if dynamics.reset == "soft" else 0)


ACTIVATIONS: dict[type[nn.Module], Arithmetic] = {
    nn.ReLU: Arithmetic(acs=1),
    nn.ReLU6: Arithmetic(acs=2),
    nn.LeakyReLU: Arithmetic(macs=1, acs=1),
    nn.ELU: Arithmetic(acs=1),
    nn.SELU: Arithmetic(macs=1, acs=1),
    nn.GELU: Arithmetic(macs=1),
    nn.SiLU: Arithmetic(macs=1),
    nn.Sigmoid: Arithmetic(),
    nn.Tanh: Arithmetic(),
    nn.Softplus: Arithmetic(),
}
"""Operations of each output: comparisons and products, without the exponential."""


def activation_arithmetic(layer: nn.Module) -> Arithmetic:
    """Operations of one output of an activation function, one of `ACTIVATIONS`."""
    return next(arithmetic for kind, arithmetic in ACTIVATIONS.items() if isinstance(layer, kind))


def gate_arithmetic(layer: nn.RNNBase) -> Arithmetic:
    """Operations of one hidden unit in one step, without its synapses.

    LSTM: ``c = f * c + i * g``, ``h = o * tanh(c)``. GRU: ``n = tanh(W x + r * (U h))``, ``h = n + z * (h - n)``. RNN:
    its activation function alone.
    """
    if isinstance(layer, nn.LSTM):
        return Arithmetic(macs=3)
    if isinstance(layer, nn.GRU):
        return Arithmetic(macs=2, acs=1)
    return ACTIVATIONS[nn.ReLU if layer.mode == "RNN_RELU" else nn.Tanh]
