"""Gates that open a random part of all neurons for each task (XdG, Masse et al. 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snn4.learners.continual.numbered_model import MultiHeadModel, NumberedModel
from snn4.policies.neurons import Neuron


class GatedModel(MultiHeadModel):
    """A network in which a random part of the hidden channels is silent in each task.

    Args:
        others: arguments of `MultiHeadModel`.
        seed: of the gates, which are computed, not stored.
        gated: fraction of the channels that is silent in a task.
    """

    def __init__(self, *others: Any, seed: int, gated: float) -> None:
        super().__init__(*others)
        self.seed, self.gated = seed, gated
        self._tasks: Tensor | None = None
        neurons = [layer for layer in self.network.modules() if _hidden(layer)]
        self._numbers = {layer: number for number, layer in enumerate(neurons)}
        for layer in neurons:
            layer.register_forward_hook(self._close)

    def answer(self, x: Tensor, tasks: Tensor) -> Tensor:
        self._tasks = tasks
        try:
            return super().answer(x, tasks)
        finally:
            self._tasks = None

    def gates(self, layer: nn.Module, channels: int) -> Tensor:
        """1 for channels that are open in a task, else 0 (tasks, channels)."""
        random = torch.Generator().manual_seed(hash((self.seed, self._numbers[layer])) % 2**62)
        order = torch.rand(self.heads, channels, generator=random).argsort(1)
        return (order >= round(self.gated * channels)).float()

    def _close(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if self._tasks is None:
            return None
        y, *state = output if isinstance(output, tuple) else (output,)
        dim = 2 if state else 1  # (T, B, C, …) of neurons, (B, C, …) of a ReLU
        # A ReLU behind a time axis has (T * B, C, …), ordered by step.
        tasks = self._tasks.to(y.device).repeat(y.shape[dim - 1] // len(self._tasks))
        gates = self.gates(layer, y.shape[dim]).to(y.device, y.dtype)[tasks]
        y = y * gates.view(*gates.shape, *(1,) * (y.dim() - dim - 1))
        return (y, *state) if state else y


def _hidden(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ReLU) or (isinstance(layer, Neuron) and layer.config.spikes)


def make_model(*parts: Any, gates: tuple[int, float] | None) -> NumberedModel:
    """A model of ``parts`` (arguments of `NumberedModel`), with gates if ``gates`` has their seed and fraction."""
    if gates is not None:
        return GatedModel(*parts, seed=gates[0], gated=gates[1])
    return MultiHeadModel(*parts) if parts[1].stream.scenario == "task" else NumberedModel(*parts)
