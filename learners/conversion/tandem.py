"""Tandem learning (Wu et al. 2021): a converted network learns with the gradients of its rates.

The spiking network runs forward, without gradients. An ANN with the same weights runs backward: its activations have
the values of the rates, and the gradients of clipped ReLUs. So a layer learns behind the very spikes that it will see,
at the cost of one step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snn4.learners.conversion.sizes import activations
from snn4.policies.networks.ann import without_time
from snn4.policies.networks.classifier import Classifier, Network
from snn4.policies.networks.graph import GraphNet, by_name
from snn4.policies.neurons import Neuron

KINDS = ("if", "signed_if")
"""Neurons whose rate is the clipped mean of their current."""


class Tandem(Classifier):
    """Images (B, C, H, W) -> the mean scores (B, n_classes) of a spiking network, with the gradients of its rates.

    Args:
        spiking: a graph of integrate-and-fire neurons with soft reset, such as a conversion makes.

    Raises:
        ValueError: another network, or other neurons.
    """

    def __init__(self, spiking: Network) -> None:
        if not isinstance(spiking, GraphNet):
            raise ValueError(
                f"gradient: got rates for a {type(spiking).__name__}, allowed are converted networks (graph); set "
                "surrogate"
            )
        super().__init__(spiking.config, spiking)
        ann: Any = without_time(spiking.network)
        self.rates = {name: _Rate(neuron) for name, neuron in by_name(spiking).items() if _fires(name, neuron)}
        for name, rate in self.rates.items():
            if name not in ann[0].layers:
                raise ValueError(f"gradient: got rates for {name}, a readout of neurons, which has none; set surrogate")
            ann[0].layers[name] = rate
        self.ann: nn.Module = ann

    def forward(self, x: Tensor, steps: int | None = None) -> Tensor:
        burn_in: int = self.config.burn_in  # type: ignore[attr-defined]

        def keep(name: str, output: tuple[Tensor, Any]) -> None:
            self.rates[name].value = output[0][burn_in:].mean(0, dtype=torch.float32)

        with torch.no_grad(), activations(self.network, list(self.rates), keep):
            scores = self.network(x, steps).float()
        learned: Tensor = self.ann(x)
        return learned + (scores - learned).detach()


class _Rate(nn.Module):
    """A current (B, …) -> the rate that its neurons had, with the gradient of the current clipped to possible rates."""

    value: Tensor
    """The rates (B, …) of this batch."""

    def __init__(self, neuron: Neuron) -> None:
        super().__init__()
        self.slope = neuron.config.gain / neuron.config.v_threshold

    def forward(self, current: Tensor) -> Tensor:
        clipped = (self.slope * current.float()).clamp(0, 1)
        return clipped + (self.value - clipped).detach()


def _fires(name: str, neuron: Any) -> bool:
    """Whether it is a layer of neurons; ValueError if their rate is no clipped current."""
    if not isinstance(neuron, Neuron):
        return False
    if neuron.config.kind not in KINDS or neuron.config.reset != "soft":
        got = f"{neuron.config.kind} with {neuron.config.reset} reset"
        raise ValueError(
            f"gradient: got rates for {name} ({got}), allowed are {' and '.join(KINDS)} with soft reset; set surrogate"
        )
    return True
