"""Synapses of which a fraction is absent: their weights are 0, and stay 0 while the others learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

SPARSEST = 0.95
"""The largest fraction of absent synapses."""


class Sparse(nn.Module):
    """A layer without the fraction ``sparsity`` of its synapses, but with at least one: the base of sparse layers.

    The synapses of the smallest ``|weight|`` are absent: when the layer is made, by weights drawn at random, and
    whenever weights are loaded, which is magnitude pruning (Han et al. 2015). Of equal weights, chance decides, the
    same at every call. Synapses that were absent in the loaded weights and are present here begin at 0.

    A gradient passes `masked` weights, so absent ones get none: momentum and weight decay leave them at 0. The state
    dict is that of a dense layer. Its zeros are the absent synapses, so loading it restores the mask: a present weight
    that happens to be 0 is saved as the smallest normal number. The mask is no buffer, because acting needs only
    weights.
    """

    weight: Tensor
    bias: Tensor | None
    sparsity: float
    mask: Tensor
    """Which synapses are present, in the shape of the weights."""

    def begin(self, sparsity: float) -> None:
        """Prune the weights that the layer has been made with."""
        self.sparsity = sparsity
        self.mask = torch.ones_like(self.weight, dtype=torch.bool)
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
        mask = torch.ones(number, dtype=torch.bool, device=self.weight.device)
        mask[smallest] = False
        self.mask = mask.view(self.weight.shape)
        self.clear()

    def clear(self) -> None:
        """Set the weights of absent synapses to 0."""
        self.weight.data.masked_fill_(~self.mask, 0)  # data: an earlier loss may still wait for its backward pass

    def masked(self) -> Tensor:
        """The weights, of which only the present ones get a gradient."""
        return self.weight * self.mask

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, sparsity={self.sparsity:g}"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
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


class SparseLinear(Sparse, nn.Linear):
    """A linear layer without a fraction of its synapses; see `Sparse`."""

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, in_features: int, out_features: int, sparsity: float, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.begin(sparsity)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.masked() if torch.is_grad_enabled() else self.weight
        return nn.functional.linear(x, weight, self.bias)


class SparseConv2d(Sparse, nn.Conv2d):
    """A convolution without a fraction of its synapses; see `Sparse`. It takes the arguments of nn.Conv2d."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, *args: Any, sparsity: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.begin(sparsity)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.masked() if torch.is_grad_enabled() else self.weight
        return self._conv_forward(x, weight, self.bias)


def make_linear(in_features: int, out_features: int, sparsity: float) -> nn.Linear:
    """A linear layer, a `SparseLinear` if a fraction ``sparsity`` of its synapses is absent."""
    return SparseLinear(in_features, out_features, sparsity) if sparsity else nn.Linear(in_features, out_features)


def learned_weight(synapses: nn.Linear) -> Tensor:
    """The weights (out, in) of ``synapses``, through which gradients pass."""
    return synapses.masked() if isinstance(synapses, SparseLinear) else synapses.weight


def prunable(network: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """The layers of a classifier, by name, of which synapses may be absent.

    The readout stays dense, and so do convolutions of the image: they have few weights, all of which see real values.
    Layers that do not learn, such as whitening, and depthwise convolutions stay dense, too.
    """
    layers = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.weight.requires_grad
    }
    names = list(layers)
    dense = {*names[-1:], *(name for name in names[:1] if isinstance(layers[name], nn.Conv2d))}
    return {
        name: layer
        for name, layer in layers.items()
        if name not in dense and not (isinstance(layer, nn.Conv2d) and layer.groups > 1)
    }


def sparsify(network: nn.Module, sparsity: float) -> None:
    """Put sparse layers in the places of the `prunable` ones of ``network``, with the largest of their weights."""
    for name, layer in prunable(network).items():
        sparse = _sparse(layer, sparsity)
        place, _, own = name.rpartition(".")
        setattr(network.get_submodule(place), own, sparse)


def _sparse(layer: nn.Linear | nn.Conv2d, sparsity: float) -> Sparse:
    has_bias = layer.bias is not None
    sparse: SparseLinear | SparseConv2d
    if isinstance(layer, nn.Linear):
        sparse = SparseLinear(layer.in_features, layer.out_features, sparsity, has_bias)
    else:
        sparse = SparseConv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
            bias=has_bias, sparsity=sparsity,
        )  # fmt: skip
    sparse.load_state_dict(layer.state_dict())
    return sparse


def prune(network: nn.Module) -> None:
    """`Sparse.prune` every layer of ``network``, after its weights were drawn anew."""
    for module in network.modules():
        if isinstance(module, Sparse):
            module.prune()


def keep_absent(network: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """Clear every sparse layer of ``network`` after each step of ``optimizer``, which may have loaded the moments of a
    denser network."""
    sparse = [module for module in network.modules() if isinstance(module, Sparse)]
    if sparse and optimizer is not None:  # an outline has none
        optimizer.register_step_post_hook(lambda *_: _clear(sparse))


def _clear(layers: list[Sparse]) -> None:
    for layer in layers:
        layer.clear()
