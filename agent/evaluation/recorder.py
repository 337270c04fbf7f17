"""What the neurons of a policy do in each decision: spikes and membranes, layer by layer."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn4.policies.metering.meter import acting_network
from snn4.policies.neurons import Neuron

MOST_ROWS = 64
"""Neurons of a layer that are drawn; of more, evenly spread ones."""


class NoSpikes(ValueError):
    """No layer of the policy spikes, or another library computes its neurons."""


class Recorder:
    """Records the neurons of the acting network of ``policy`` inside a ``with`` block, for one copy of its environment.

    Args:
        policy: of SB3, spiking, with neurons of backend torch.
        columns: inner steps that are kept.

    Raises:
        NoSpikes: no layer of the policy spikes.
    """

    def __init__(self, policy: nn.Module, columns: int) -> None:
        self.neurons = [layer for layer in acting_network(policy) if isinstance(layer, Neuron)]
        if not self.neurons:
            raise NoSpikes("policy: got no spiking layer of backend torch, allowed are one or more")
        self._spikes: list[deque[NDArray[np.bool_]]] = [deque(maxlen=columns) for _ in self.neurons]
        self._membranes: list[NDArray[np.float32]] = [np.zeros(0, np.float32) for _ in self.neurons]
        self.widths = [0] * len(self.neurons)
        """Neurons of each layer, known after the first decision."""
        self._handles: list[Any] = []

    def __enter__(self) -> Recorder:
        for number, layer in enumerate(self.neurons):
            self._handles.append(layer.register_forward_hook(self._hook(number), with_kwargs=True))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def rasters(self) -> list[NDArray[np.bool_]]:
        """Spikes (neurons, inner steps) of each layer, the latest step last."""
        return [np.array(columns).T for columns in self._spikes]

    @property
    def membranes(self) -> list[NDArray[np.float32]]:
        """Membranes (neurons,) of each layer after the last inner step, in units of the threshold."""
        return list(self._membranes)

    def _hook(self, number: int) -> Any:
        def hook(layer: Any, inputs: tuple[Any, ...], options: dict[str, Any], output: tuple[Tensor, Any]) -> None:
            spikes, state = output
            neurons = spikes[:, 0].flatten(1)
            self.widths[number] = neurons.shape[1]
            rows = _rows(neurons)
            self._spikes[number].extend(rows.ne(0).cpu().numpy())
            v = state.v if len(layer.dynamics.decay) == 1 else state.v.mean(0)
            self._membranes[number] = (_rows(v[:1].flatten(1))[0].float() / layer.dynamics.v_threshold).cpu().numpy()

        return hook


def _rows(x: Tensor) -> Tensor:
    """At most `MOST_ROWS` columns of ``x`` (…, n), evenly spread."""
    n = x.shape[-1]
    return x if n <= MOST_ROWS else x[..., torch.linspace(0, n - 1, MOST_ROWS).round().long()]
