"""Batch norms in eval mode, folded into the synapses before them."""

from __future__ import annotations

from typing import TypeGuard

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from snn4.policies.normalization import BatchNorm1d, BatchNorm2d
from snn4.policies.sparse import SparseConv2d, SparseLinear


def fold_norms(layers: nn.Sequential) -> None:
    """Fold batch norms into the synapses before them, also across pooling that commutes with them."""
    for number in range(len(layers) - 1):
        synapses, pooling = layers[number], layers[number + 1]
        after = number + 1
        if isinstance(pooling, (nn.AvgPool2d, nn.MaxPool2d)) and after + 1 < len(layers):
            after += 1
        norm = layers[after]
        if is_linear(synapses) and type(norm) in (nn.BatchNorm1d, BatchNorm1d) and norm.track_running_stats:
            layers[number], layers[after] = fuse_linear_bn_eval(synapses, norm), nn.Identity()  # type: ignore[arg-type]
        elif is_conv(synapses) and is_norm(norm) and _commutes(pooling, norm):
            layers[number], layers[after] = fuse_conv_bn_eval(synapses, norm), nn.Identity()
    for number in reversed(range(len(layers))):
        if isinstance(layers[number], nn.Identity):
            del layers[number]


def is_linear(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether ``layer`` is linear, perhaps without some synapses; other subclasses may compute something else."""
    return type(layer) in (nn.Linear, SparseLinear)


def is_conv(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether ``layer`` is a convolution of images, perhaps without some synapses."""
    return type(layer) in (nn.Conv2d, SparseConv2d)


def is_norm(layer: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether ``layer`` is a batch norm of images; other subclasses may compute something else."""
    return type(layer) in (nn.BatchNorm2d, BatchNorm2d)


def _commutes(pooling: nn.Module, norm: nn.BatchNorm2d) -> bool:
    """Whether ``norm`` can be folded and, if ``pooling`` is a pooling layer, commutes with it."""
    if not norm.track_running_stats:
        return False
    if isinstance(pooling, nn.AvgPool2d):
        # Zero padding would be averaged with the bias, and another divisor would change the bias.
        return pooling.padding == 0 and pooling.divisor_override is None
    # A negative weight would turn the maximum into the minimum.
    return not isinstance(pooling, nn.MaxPool2d) or not norm.affine or bool((norm.weight >= 0).all())
