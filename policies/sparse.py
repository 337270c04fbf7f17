"""Synapses of which a fraction is absent: their weights are 0, and stay 0 while the others learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

SPARSEST = 0.95
"""The largest fraction of absent synapses."""


class SparseLinear(nn.Linear):
    """A linear layer without the fraction ``sparsity`` of its synapses, but with at least one.

    The synapses of the smallest ``|weight|`` are absent: when the layer is made, by weights drawn at random, and
    whenever weights are loaded, which is magnitude pruning (Han et al. 2015). Of equal weights, chance decides, the
    same at every call. Synapses that were absent in the loaded weights and are present here begin at 0.

    A gradient passes `masked` weights, so absent ones get none: momentum and weight decay leave them at 0. The state
    dict is that of nn.Linear. Its zeros are the absent synapses, so loading it restores the mask: a present weight that
    happens to be 0 is saved as the smallest normal number. The mask is no buffer, because acting needs only weights.
    """

    def __init__(self, in_features: int, out_features: int, sparsity: float) -> None:
        super().__init__(in_features, out_features)
        self.sparsity = sparsity
        self.mask = torch.ones_like(self.weight, dtype=torch.bool)
        """Which synapses are present (out, in)."""
        self.prune()

    @torch.no_grad()
    def prune(self) -> None:
        """Choose the absent synapses by the present weights, and set them to 0."""
        if self.weight.is_meta:
            return  # an outline has shapes and no values
        number = self.weight.numel()
        absent = min(round(self.sparsity * number), number - 1)
        order = torch.randperm(number, generator=torch.Generator().manual_seed(0)).to(self.weight.device)
        smallest = order[self.weight.flatten()[order].abs().argsort(stable=True)[:absent]]
        self.mask = torch.ones_like(self.weight, dtype=torch.bool)
        self.mask.view(-1)[smallest] = False
        self.clear()

    def clear(self) -> None:
        """Set the weights of absent synapses to 0."""
        self.weight.data.masked_fill_(~self.mask, 0)  # data: an earlier loss may still wait for its backward pass

    def masked(self) -> Tensor:
        """The weights, of which only the present ones get a gradient."""
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        weight = self.masked() if torch.is_grad_enabled() else self.weight
        return nn.functional.linear(x, weight, self.bias)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, sparsity={self.sparsity:g}"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> SparseLinear:
        super()._apply(fn, recurse)
        self.mask = self.mask.to(self.weight.device)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        zero = (self.weight.detach() == 0) & self.mask
        if not self.weight.is_meta and zero.any():
            tiny = torch.finfo(self.weight.dtype).tiny
            destination[f"{prefix}weight"] = self.weight.detach().masked_fill(zero, tiny)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if f"{prefix}weight" in state_dict:
            self.prune()


def make_linear(in_features: int, out_features: int, sparsity: float) -> nn.Linear:
    """A linear layer, a `SparseLinear` if a fraction ``sparsity`` of its synapses is absent."""
    return SparseLinear(in_features, out_features, sparsity) if sparsity else nn.Linear(in_features, out_features)


def learned_weight(synapses: nn.Linear) -> Tensor:
    """The weights (out, in) of ``synapses``, through which gradients pass."""
    return synapses.masked() if isinstance(synapses, SparseLinear) else synapses.weight


def prune(network: nn.Module) -> None:
    """`SparseLinear.prune` every layer of ``network``, after its weights were drawn anew."""
    for module in network.modules():
        if isinstance(module, SparseLinear):
            module.prune()


def keep_absent(network: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """Clear every sparse layer of ``network`` after each step of ``optimizer``, which may have loaded the moments of a
    denser network."""
    sparse = [module for module in network.modules() if isinstance(module, SparseLinear)]
    if sparse and optimizer is not None:  # an outline has none
        optimizer.register_step_post_hook(lambda *_: _clear(sparse))


def _clear(layers: list[SparseLinear]) -> None:
    for layer in layers:
        layer.clear()
