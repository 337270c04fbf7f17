"""Neurons: their equations, their parameters in NIR's terms, and the layer that runs them over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snn4.policies.gene import Gene
from snn4.policies.scan import scan
from snn4.policies.surrogate import SURROGATES


@dataclass(frozen=True)
class NeuronConfig:
    """A leaky integrate-and-fire neuron, with NIR's parameter names (Pedersen et al. 2024, ``nir.LIF``).

    ``tau_mem dv/dt = (v_leak - v) + r I``, solved exactly for a current that is constant over one step ``dt``::

        v[t] = decay * v[t-1] + (1 - decay) * (v_leak + r * I[t])     decay = exp(-dt / tau_mem)
        s[t] = 1 if v[t] >= v_threshold else 0
        v[t] = v[t] - s[t] * v_threshold            reset: soft
        v[t] = v_reset where s[t] else v[t]         reset: hard

    ``decay`` is snnTorch's ``beta`` and Loihi's ``1 - dv / 4096``. The reset passes no gradient.
    """

    tau_mem: Annotated[float, Gene(2e-3, 100e-3, log=True)] = 20e-3
    """Membrane time constant, seconds."""
    v_threshold: Annotated[float, Gene(0.25, 2.0)] = 1.0
    """A neuron whose membrane reaches this value spikes."""
    v_reset: float = 0.0
    """Membrane after a spike with a hard reset."""
    v_leak: float = 0.0
    """The value to which the membrane decays."""
    r: float | None = None
    """Input resistance; None takes 1 / (1 - decay), with which a current I raises the membrane by I in one step."""
    dt: float = 1e-3
    """Length of one inner step, seconds."""
    reset: Literal["soft", "hard"] = "soft"
    surrogate: Literal["arctan", "sigmoid", "fast_sigmoid", "triangle", "gaussian"] = "arctan"
    """Derivative of the spike in the backward pass."""
    slope: float = 2.0
    """Steepness of the surrogate."""

    def __post_init__(self) -> None:
        for name in ("tau_mem", "v_threshold", "dt", "slope"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}: got {value}, allowed is a finite number > 0")
        for name in ("v_reset", "v_leak", "r"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name}: got {value}, allowed is a finite number")
        if self.v_reset >= self.v_threshold:
            raise ValueError(f"v_reset: got {self.v_reset}, allowed is a value below v_threshold ({self.v_threshold})")
        if self.reset not in ("soft", "hard"):
            raise ValueError(f"reset: got {self.reset!r}, allowed are soft, hard")
        if self.surrogate not in SURROGATES:
            raise ValueError(f"surrogate: got {self.surrogate!r}, allowed are {', '.join(SURROGATES)}")

    @property
    def decay(self) -> float:
        """Fraction of the membrane that is left after one step."""
        return math.exp(-self.dt / self.tau_mem)

    @property
    def gain(self) -> float:
        """What one unit of current adds to the membrane in one step."""
        return 1.0 if self.r is None else (1 - self.decay) * self.r


class LIFState(NamedTuple):
    """State of a LIF layer between steps: the membrane ``v`` (B, …) after the reset."""

    v: Tensor


class LIF(nn.Module):
    """A layer of LIF neurons: ``(current (T, B, …), state) -> (spikes (T, B, …), state)``."""

    def __init__(self, config: NeuronConfig) -> None:
        super().__init__()
        self.config = config

    def initial_state(self, current: Tensor) -> LIFState:
        """Membranes at rest for input ``current`` (T, B, …)."""
        return LIFState(torch.full_like(current[0], self.config.v_leak))

    def forward(self, current: Tensor, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        state = state or self.initial_state(current)
        c = self.config
        spikes, v = scan(
            current, state.v, decay=c.decay, gain=c.gain, leak=(1 - c.decay) * c.v_leak, v_threshold=c.v_threshold,
            v_reset=None if c.reset == "soft" else c.v_reset, surrogate=c.surrogate, slope=c.slope,
        )  # fmt: skip
        return spikes, LIFState(v)

    def extra_repr(self) -> str:
        return f"tau_mem={self.config.tau_mem}, v_threshold={self.config.v_threshold}, reset={self.config.reset}"
