"""Codes: from values to spikes over time (encoders), and from spikes to values (decoders)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn4.policies.gene import Gene
from snn4.policies.scan import scan

Bounds = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class CodingConfig:
    """How an observation becomes input of the first layer."""

    kind: Literal["direct", "population"] = "direct"
    """direct: the values themselves are the current of every step. population: Gaussian receptive fields that spike."""
    neurons_per_input: int = 10
    """Receptive fields for each value (population)."""
    width: Annotated[float, Gene(0.25, 2.0)] = 0.75
    """First standard deviation of a receptive field, in distances between neighbours (population)."""
    unbounded_range: float = 3.0
    """Values whose space has no bounds are covered from minus this to this (population)."""

    def __post_init__(self) -> None:
        if self.kind not in ("direct", "population"):
            raise ValueError(f"kind: got {self.kind!r}, allowed are direct, population")
        if self.neurons_per_input < 2:
            raise ValueError(f"neurons_per_input: got {self.neurons_per_input}, allowed is a whole number >= 2")
        for name in ("width", "unbounded_range"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a finite number > 0")


class DirectEncoder(nn.Module):
    """Constant current: (B, n) -> (1, B, n). One step stands for all T, so that the first synapses run once."""

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.n_outputs = n_inputs

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(0)


class PopulationEncoder(nn.Module):
    """Gaussian receptive fields with learned centres and widths: (B, n) -> spikes (T, B, n * neurons_per_input).

    The deterministic population code of PopSAN (Tang et al. 2020): a field's activity, in (0, 1], drives an
    integrate-and-fire neuron with threshold 1 and soft reset. Centres are spread evenly over ``bounds``.
    """

    def __init__(self, n_inputs: int, T: int, config: CodingConfig, bounds: Bounds | None = None) -> None:
        super().__init__()
        self.T, self.n_outputs = T, n_inputs * config.neurons_per_input
        low, high = _finite_bounds(n_inputs, bounds, config.unbounded_range)
        places = torch.linspace(0, 1, config.neurons_per_input)
        self.centres = nn.Parameter(low[:, None] + (high - low)[:, None] * places)
        spacing = (high - low) / (config.neurons_per_input - 1)
        self.log_widths = nn.Parameter((config.width * spacing).log()[:, None].repeat(1, config.neurons_per_input))

    def forward(self, x: Tensor) -> Tensor:
        distance = (x.unsqueeze(-1) - self.centres) * torch.exp(-self.log_widths)
        activity = torch.exp(-0.5 * distance.square()).flatten(1)
        current = activity.expand(self.T, *activity.shape)
        # At half the threshold a field spikes from the second step on even when its activity is just under 1.
        spikes, _ = scan(current, torch.full_like(activity, 0.5), decay=1.0)
        return spikes


def make_encoder(
    n_inputs: int, T: int, config: CodingConfig, bounds: Bounds | None = None
) -> DirectEncoder | PopulationEncoder:
    """The encoder that ``config`` names, for ``n_inputs`` values with the given ``(low, high)`` bounds (n,)."""
    if config.kind == "population":
        return PopulationEncoder(n_inputs, T, config, bounds)
    return DirectEncoder(n_inputs)


def decoder_weights(kind: str, T: int, decay: float) -> Tensor:
    """What a spike at each step (T,) counts in the decoded value; they add up to 1.

    rate: all the same. membrane: a leaky integrator's trace at the last step, so that late spikes count more. Both
    commute with the linear head that follows, which therefore may see spikes (on a chip) or decoded values (here).
    """
    if kind == "rate":
        return torch.full((T,), 1 / T)
    if kind == "membrane":
        trace = decay ** torch.arange(T - 1, -1, -1, dtype=torch.float32)
        return trace / trace.sum()
    raise ValueError(f"readout: got {kind!r}, allowed are rate, membrane")


def _finite_bounds(n_inputs: int, bounds: Bounds | None, default: float) -> tuple[Tensor, Tensor]:
    edge = np.full(n_inputs, default, np.float32)
    low, high = bounds if bounds is not None else (-edge, edge)
    # Spaces write "unbounded" as inf or as the largest float.
    bounded = (np.abs(low) < 1e6) & (np.abs(high) < 1e6) & (low < high)
    return torch.as_tensor(np.where(bounded, low, -edge)), torch.as_tensor(np.where(bounded, high, edge))
