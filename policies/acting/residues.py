"""Residual membranes: a decision of T steps starts from what the one before has left over (CRPI, arXiv 2601.21778)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn4.policies.dynamics import NeuronState
from snn4.policies.neurons import Neuron


class Residues:
    """The membranes that layers carry from one decision of a policy to the next.

    A rate of T steps has T + 1 values, so that a small change of an observation often changes no decision. A membrane
    between 0 and the threshold is the part of the input that made no spike yet; added to the next decision, it counts
    in the mean over decisions. Membranes outside this range return to rest: they are those of silent and of saturated
    neurons.

    Args:
        neurons: the layers in order, with one membrane each and a soft reset.

    Raises:
        ValueError: for other neurons.
    """

    def __init__(self, neurons: Sequence[Neuron]) -> None:
        for neuron in neurons:
            if len(neuron.dynamics.decay) > 1 or neuron.dynamics.reset != "soft":
                got = f"kind {neuron.config.kind} with reset {neuron.config.reset}"
                raise ValueError(f"residual: not allowed with {got}; set reset: soft, and a kind with one membrane")
        self.carried: list[Tensor] | None = None
        """Of each layer (B, n), while a policy decides; an empty list is rest."""
        self.fresh: NDArray[np.bool_] | None = None
        self._left: list[Tensor] = []

    @contextmanager
    def carrying(self, state: Sequence[NDArray[Any]] | None, starts: Any) -> Iterator[None]:
        """Decide from ``state``, (1, B, n) of each layer; rows with an episode that ``starts`` begin at rest."""
        self.carried = [] if state is None else [torch.from_numpy(part[0]) for part in state]
        self.fresh = None if starts is None else np.asarray(starts, bool)
        self._left = []
        try:
            yield
        finally:
            self.carried = None

    def taken(self) -> tuple[NDArray[Any], ...]:
        """What the decision has left, (1, B, n) of each layer."""
        return tuple(part.unsqueeze(0).numpy() for part in self._left)

    def first(self, neuron: Neuron, current: Tensor) -> NeuronState | None:
        """The state in which the next layer, ``neuron``, begins; None is rest."""
        if not self.carried:
            return None
        rest = neuron.initial_state(current)
        v = self.carried[len(self._left)].to(rest.v)
        if self.fresh is not None:
            v = torch.where(torch.from_numpy(self.fresh).view(-1, 1), rest.v, v)
        return rest._replace(v=v)

    def keep(self, neuron: Neuron, last: NeuronState) -> None:
        """Keep the membranes between 0 and the threshold; all others return to rest."""
        if self.carried is None:
            return
        v = last.v.detach()
        inside = (v >= 0) & (v < neuron.config.v_threshold)
        self._left.append(torch.where(inside, v, neuron.config.v_leak))
