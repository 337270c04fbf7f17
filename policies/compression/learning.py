"""What compressed networks need while they learn: weights that stay on their grid, and a cost of spikes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snn4.policies.acting.spike_cost import charge
from snn4.policies.compression.quantization import Grid
from snn4.policies.metering.synaptic_operations import SYNAPSES
from snn4.policies.neurons import Neuron


class Rounding:
    """Weights that stay on a grid while they learn: quantisation-aware learning with a straight-through gradient.

    The network always computes with rounded weights. An optimizer's step changes the exact ones instead, by the
    gradient of the rounded ones (Courbariaux et al. 2015), and rounds them again. Scales stay those of the beginning.

    Args:
        layers: synapses.
        grid: of their weights.
        optimizers: those that change the weights.
    """

    def __init__(self, layers: Iterable[nn.Module], grid: Grid, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.grid = grid
        self.weights: list[nn.Parameter] = [layer.weight for layer in layers]  # type: ignore[misc]
        self.exact = [weight.detach().clone() for weight in self.weights]
        self.scales = [grid.scales(weight) for weight in self.exact]
        self._round()
        for optimizer in optimizers:
            optimizer.register_step_pre_hook(lambda *_: self._put_back())
            optimizer.register_step_post_hook(lambda *_: self._keep())

    def _put_back(self) -> None:
        for weight, exact in zip(self.weights, self.exact, strict=True):
            weight.data.copy_(exact)

    def _keep(self) -> None:
        for weight, exact in zip(self.weights, self.exact, strict=True):
            exact.copy_(weight.data)
        self._round()

    def _round(self) -> None:
        for weight, exact, scales in zip(self.weights, self.exact, self.scales, strict=True):
            weight.data.copy_(self.grid.round(exact, scales))

    def state(self) -> dict[str, Any]:
        """Plain data and tensors."""
        return {"exact": list(self.exact), "scales": list(self.scales)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        for name in ("exact", "scales"):
            for own, saved in zip(getattr(self, name), state[name], strict=True):
                own.copy_(saved)
        self._round()


def synapses(network: nn.Module) -> list[nn.Module]:
    """The layers of ``network`` whose weights are quantized: all synapses that learn."""
    return [layer for layer in network.modules() if isinstance(layer, SYNAPSES) and layer.weight.requires_grad]


@torch.no_grad()
def quantize(network: nn.Module, grid: Grid) -> None:
    """Put the weights of all `synapses` of ``network`` on ``grid``."""
    for layer in synapses(network):
        weight: Tensor = layer.weight  # type: ignore[assignment]
        weight.copy_(grid.rounded(weight))


def charge_neurons(network: nn.Module, cost: float, neuron_steps: int) -> None:
    """Let the spikes of ``network`` cost something while it learns, as in `snn4.policies.acting.spike_cost`.

    Args:
        cost: of the mean rate.
        neuron_steps: neurons of the network times steps of an input.
    """

    def pay(neuron: nn.Module, _: Any, output: tuple[Tensor, Any]) -> None:
        if neuron.training:
            spikes = output[0]
            charge(spikes, neuron, cost / (neuron_steps * spikes.shape[1]))  # type: ignore[arg-type]

    for module in network.modules():
        if isinstance(module, Neuron):
            module.register_forward_hook(pay)


def neuron_steps(network: nn.Module, x: Tensor) -> int:
    """The neurons of ``network`` times its steps, for an input ``x`` of one sample."""
    numbers: list[int] = []
    neurons = [module for module in network.modules() if isinstance(module, Neuron)]
    handles = [neuron.register_forward_hook(lambda *args: numbers.append(args[2][0].numel())) for neuron in neurons]
    training = network.training
    with torch.no_grad():
        network.eval()(x)
    network.train(training)
    for handle in handles:
        handle.remove()
    return sum(numbers)
