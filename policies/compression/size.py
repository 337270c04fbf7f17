"""Bytes in which a compressed network can be stored."""

from __future__ import annotations

from torch import nn

from snn4.policies.compression.quantization import Grid
from snn4.policies.metering.synaptic_operations import SYNAPSES
from snn4.policies.sparse import Sparse


def stored_bytes(network: nn.Module, grid: Grid | None) -> int:
    """Bytes of the parameters of ``network``.

    A weight of synapses that learn has the bits of ``grid``, or 32 without one, and a quantized layer also its scales.
    A sparse layer stores the weights that are present, and a bit for each place. All else has 32 bits.
    """
    bits, seen = 0, set()
    for layer in network.modules():
        if isinstance(layer, SYNAPSES) and id(layer.weight) not in seen:
            seen.add(id(layer.weight))
            bits += _weight_bits(layer, grid if layer.weight.requires_grad else None)
    bits += sum(32 * p.numel() for p in network.parameters() if id(p) not in seen)
    return -(-bits // 8)


def _weight_bits(layer: nn.Linear | nn.Module, grid: Grid | None) -> int:
    weight = layer.weight
    present, places = weight.numel(), 0  # type: ignore[operator, union-attr]
    if isinstance(layer, Sparse):
        present, places = int(layer.mask.sum()), weight.numel()  # type: ignore[operator, union-attr]
    if grid is None:
        return 32 * present + places
    scales = len(weight) if grid.scale == "channel" else 1  # type: ignore[arg-type]
    return grid.bits * present + places + (8 if grid.power_of_two else 32) * scales


def synapse_count(network: nn.Module) -> int:
    """The number of weights of synapses that are not 0."""
    weights = {id(layer.weight): layer.weight for layer in network.modules() if isinstance(layer, SYNAPSES)}
    return sum(int(weight.detach().count_nonzero()) for weight in weights.values())
