"""How a network is compressed: which of its neurons and synapses stay, and how many bits a weight has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from snn4.policies.sparse import SPARSEST

Bits = Literal[8, 6, 4, 2]
PATTERN = re.compile(r"([1-9]\d*):([1-9]\d*)")


@dataclass(frozen=True)
class CompressionConfig:
    """What becomes smaller."""

    shrink: float = 0.0
    """Fraction of neurons (of channels) that each hidden layer loses, from 0 to 0.95: those that are used least on
    training data. Tensors shrink."""
    prune: float = 0.0
    """Fraction of synapses that each layer loses, from 0 to 0.95: those with the smallest weights, which become 0."""
    pattern: str | None = None
    """``N:M`` (``2:4``) instead of ``prune``: of M neighbouring inputs of a neuron, the N with the largest weights
    stay."""
    bits: Bits | None = None
    """Bits of a weight; null keeps float32."""
    scale: Literal["channel", "layer"] = "channel"
    """Whether each neuron (channel) has a scale of its own for its weights, or all of a layer share one."""
    power_of_two: bool = False
    """Whether scales are powers of two, which chips such as Loihi need: there, a scale is a shift."""
    spike_cost: float = 0.0
    """Cost of the mean spike rate in the loss of the recovery."""
    recover: bool = True
    """Whether the compressed network learns for a while, from its uncompressed self. Weights of few bits then learn
    with a straight-through gradient (quantisation-aware); false quantises them afterwards."""
    steps: int = 20_000
    """Policies: environment steps of the recovery, in states that the compressed policy meets."""

    def __post_init__(self) -> None:
        for name in ("shrink", "prune"):
            if not 0 <= getattr(self, name) <= SPARSEST:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a number from 0 to {SPARSEST}")
        if self.bits not in (None, *get_args(Bits)):
            raise ValueError(f"bits: got {self.bits}, allowed are 8, 6, 4, 2, or null")
        if self.pattern is not None:
            self._check_pattern(self.pattern)
        if not 0 <= self.spike_cost < float("inf"):
            raise ValueError(f"spike_cost: got {self.spike_cost}, allowed is a finite number >= 0")
        if self.spike_cost and not self.recover:
            raise ValueError(f"spike_cost: {self.spike_cost} is not allowed with recover: false, which learns nothing")
        if self.steps < 1:
            raise ValueError(f"steps: got {self.steps}, allowed is a whole number >= 1; or set recover: false")
        if self.power_of_two and self.bits is None:
            raise ValueError("power_of_two: not allowed without bits; set bits: 8")

    def _check_pattern(self, pattern: str) -> None:
        n, m = self.kept or (0, 0)
        if not 0 < n < m:
            raise ValueError(f"pattern: got {pattern!r}, allowed is N:M with N < M, such as 2:4")
        if self.prune:
            raise ValueError(f"pattern: got {pattern!r} and prune: {self.prune}, allowed is one of them; set prune: 0")
        if 1 - n / m > SPARSEST:
            raise ValueError(f"pattern: got {pattern!r}, allowed are patterns that keep {1 - SPARSEST:.0%} or more")

    @property
    def does_nothing(self) -> bool:
        """Whether nothing becomes smaller."""
        return not (self.shrink or self.sparsity or self.bits or self.spike_cost)

    @property
    def kept(self) -> tuple[int, int] | None:
        """N and M of the pattern."""
        match = PATTERN.fullmatch(self.pattern or "")
        return None if match is None else (int(match[1]), int(match[2]))

    @property
    def sparsity(self) -> float:
        """The fraction of synapses that go."""
        return self.prune if self.kept is None else 1 - self.kept[0] / self.kept[1]

    def width(self, neurons: int) -> int:
        """How many of ``neurons`` a layer keeps: one at least."""
        return max(1, round(neurons * (1 - self.shrink)))
