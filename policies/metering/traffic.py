"""Memory traffic by kind of value, so that an energy model can give each kind a width of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from snn4.policies.metering.synaptic_operations import SYNAPSES


@dataclass
class Values:
    """One number for each kind of value in memory: how often it is read or written, how many there are, or its bytes.

    Addition and division go kind by kind.
    """

    weights: float = 0.0
    """Of synapses and recurrent layers."""
    biases: float = 0.0
    """And all other parameters."""
    activations: float = 0.0
    """Real values: inputs of synapses that are not 0, and all outputs that no neuron takes."""
    spikes: float = 0.0
    """Bits, one per neuron and step, two where spikes have a sign: written by neurons, read by each layer behind."""
    sums: float = 0.0
    """Currents: outputs of synapses that a neuron takes, and its reading of them."""
    states: float = 0.0
    """Membranes, synaptic currents and adaptations of neurons, and cells of an LSTM."""

    def __add__(self, other: Values) -> Values:
        # dataclasses.astuple would copy deeply, and this runs for each layer and decision that is metered.
        return Values(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def __truediv__(self, number: float) -> Values:
        return Values(*(value / number for value in vars(self).values()))

    def bytes(self, widths: Values) -> float:
        """Sum over all kinds, for ``widths`` in bytes."""
        pairs = zip(vars(self).values(), vars(widths).values(), strict=True)
        return float(sum(value * width for value, width in pairs))


def parameter_values(layers: Iterable[nn.Module], parameters: int) -> Values:
    """Numbers of weights and of others among the ``parameters`` of a network with ``layers``."""
    weights = [weight for layer in layers for weight in _weights(layer)]
    number = sum(weight.numel() for weight in {id(weight): weight for weight in weights}.values())
    return Values(weights=number, biases=max(parameters - number, 0))


def _weights(layer: nn.Module) -> list[Tensor]:
    if isinstance(layer, nn.RNNBase):
        return [p for name, p in layer.named_parameters() if name.startswith("weight")]
    return [layer.weight] if isinstance(layer, SYNAPSES) else []


INT8_WIDTHS = Values(weights=1, biases=4, activations=1, spikes=1 / 8, sums=4, states=4)
"""Bytes of each value on eight-bit hardware, as `quantization` simulates it: sums and states have 32 bits."""
