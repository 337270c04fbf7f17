"""Unstructured pruning: synapses that become absent, by their weights alone or N of every M inputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snn4.policies.sparse import Sparse


def sparse_layers(network: nn.Module) -> dict[str, Sparse]:
    """The sparse layers of ``network`` by name."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, Sparse)}


@torch.no_grad()
def patterned(weight: Tensor, kept: tuple[int, int]) -> Tensor:
    """``weight`` (outputs, inputs, …) with 0 for all but the N largest of each M neighbouring inputs."""
    n, m = kept
    groups = weight.transpose(1, -1).unflatten(-1, (-1, m))
    largest = groups.abs().argsort(dim=-1, descending=True, stable=True)[..., :n]
    present = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, largest, True)
    return (groups * present).flatten(-2).transpose(1, -1)


def with_pattern(network: nn.Module, weights: Mapping[str, Tensor], kept: tuple[int, int]) -> dict[str, Tensor]:
    """The state dict ``weights`` of a dense network for the sparse ``network``, whose sparsity is 1 - N / M: with N of
    every M inputs in the sparse layers.

    Raises:
        ValueError: the inputs of a sparse layer do not divide into groups of M.
    """
    layers = sparse_layers(network)
    _check_pattern(layers, kept)
    names = {f"{name}.weight" for name in layers}
    return {name: patterned(x, kept) if name in names else x for name, x in weights.items()}


def _check_pattern(layers: Mapping[str, Sparse], kept: tuple[int, int]) -> None:
    """ValueError unless the inputs of each of ``layers`` divide into groups of M."""
    n, m = kept
    for name, layer in layers.items():
        if layer.weight.shape[1] % m:
            raise ValueError(
                f"pattern: got {n}:{m}, but {name} has {layer.weight.shape[1]} inputs; allowed is an M that divides "
                "them; or set prune instead"
            )
