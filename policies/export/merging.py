"""Merging of linear layers: average pooling and neighbouring synapses become one convolution or one dense layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.description import Conv, Dense, Flatten, Layer, NotExportable, Pool

Shape = tuple[int, ...]


def merged(layers: Sequence[Layer], shape: Shape, neurons: str) -> Dense | Conv:
    """One part that computes what the chain ``layers`` computes, exactly up to float32.

    Args:
        layers: between two layers of neurons, or behind the last one.
        shape: of the input at one step, (n,) or (C, H, W).
        neurons: name of what follows, for messages.

    Raises:
        NotExportable: there are no synapses, or a part cannot be merged; the message names it.
    """
    shapes = [shape, *(layer.shape for layer in layers)]
    whole: Dense | Conv | None = None
    for layer, before in reversed(list(zip(layers, shapes, strict=False))):
        if isinstance(layer.part, Flatten):
            continue  # dense synapses receive images flattened, channels first
        part = _synapses(layer, before)
        whole = part if whole is None else _composed(layer.name, part, whole, before, layer.shape)
    if whole is None:
        raise NotExportable(f"{neurons}: got no synapses before it, allowed are dense layers and convolutions")
    return whole


def _synapses(layer: Layer, shape: Shape) -> Dense | Conv:
    match layer.part:
        case Dense() | Conv():
            return layer.part
        case Pool(kind="average"):
            return _averaging(layer.part, shape[0])
        case Pool():
            raise NotExportable(f"{layer.name}: got max pooling of spikes, allowed is average pooling; train with it")
    got = type(layer.part).__name__
    raise NotExportable(
        f"{layer.name}: got {got} behind spikes, allowed are Dense, Conv and average pooling; take a network without it"
    )


def _averaging(pool: Pool, channels: int) -> Conv:
    weight = np.full((channels, 1, *pool.size), 1 / np.prod(pool.size), np.float32)
    return Conv(weight, np.zeros(channels, np.float32), pool.stride, pool.padding, (1, 1), channels)


def _composed(name: str, first: Dense | Conv, second: Dense | Conv, before: Shape, between: Shape) -> Dense | Conv:
    """The part ``second(first(x))``."""
    if isinstance(second, Dense):
        return _dense_after(first, second, before, between)
    if isinstance(first, Dense) or not _same_edges(first, second, before, between):
        raise NotExportable(
            f"{name}: got a size that its windows do not divide, {before[1:]}, before a convolution with padding; "
            f"allowed are sizes that they divide, such as images of 32 x 32"
        )
    a, b = _whole(first), _whole(second)
    size = [a.shape[2 + axis] + (b.shape[2 + axis] - 1) * first.stride[axis] for axis in (0, 1)]
    weight = np.zeros((len(b), a.shape[1], *size))
    for row, column in np.ndindex(b.shape[2:]):
        top, left = row * first.stride[0], column * first.stride[1]
        part = np.einsum("om,mihw->oihw", b[:, :, row, column], a)
        weight[:, :, top : top + part.shape[2], left : left + part.shape[3]] += part
    bias = second.bias + b.sum((2, 3)) @ first.bias
    (down, right), (p, q), groups = first.stride, first.padding, _groups(first, second)
    stride = (down * second.stride[0], right * second.stride[1])
    padding = (p + down * second.padding[0], q + right * second.padding[1])
    return Conv(_grouped(weight, groups), bias.astype(np.float32), stride, padding, (1, 1), groups)


def _same_edges(first: Conv, second: Conv, before: Shape, between: Shape) -> bool:
    """Whether zeros around the output of ``first`` are what it gives for zeros around its input."""
    if not any(second.padding):
        return True
    outside = (
        _reach(first, axis) <= first.stride[axis] + first.padding[axis]
        and between[1 + axis] * first.stride[axis] - first.padding[axis] >= before[1 + axis]
        for axis in (0, 1)
        if second.padding[axis]
    )
    return not first.bias.any() and all(outside)


def _dense_after(first: Dense | Conv, second: Dense, before: Shape, between: Shape) -> Dense:
    weight = second.weight.astype(np.float64)
    if isinstance(first, Dense):
        bias = second.bias + weight @ first.bias
        return Dense((weight @ first.weight).astype(np.float32), bias.astype(np.float32))
    maps = weight.reshape(len(weight), *between)  # (n_out, C, H', W')
    w, (down, right) = _whole(first), first.stride
    rows, columns = first.padding
    whole = np.zeros((len(weight), before[0], before[1] + 2 * rows + down, before[2] + 2 * columns + right))
    for top, left in np.ndindex(w.shape[2:]):
        seen = (slice(top, top + between[1] * down, down), slice(left, left + between[2] * right, right))
        whole[(..., *seen)] += np.einsum("nohw,oi->nihw", maps, w[:, :, top, left])
    whole = whole[:, :, rows : rows + before[1], columns : columns + before[2]]
    bias = second.bias + maps.sum((2, 3)) @ first.bias
    return Dense(whole.reshape(len(weight), -1).astype(np.float32), bias.astype(np.float32))


def _reach(conv: Conv, axis: int) -> int:
    """Pixels of the input that one pixel of the output sees, with the holes of the dilation."""
    return conv.dilation[axis] * (conv.weight.shape[2 + axis] - 1) + 1


def _whole(conv: Conv) -> NDArray[Any]:
    """The weights of ``conv`` between all channels (C_out, C_in, H, W), with zeros in the holes of the dilation."""
    n_out, per_group = conv.weight.shape[:2]
    weight = np.zeros((n_out, per_group * conv.groups, _reach(conv, 0), _reach(conv, 1)))
    for number, part in enumerate(np.split(conv.weight, conv.groups)):
        rows, columns = (slice(number * n, (number + 1) * n) for n in (len(part), per_group))
        weight[rows, columns, :: conv.dilation[0], :: conv.dilation[1]] = part
    return weight


def _groups(first: Conv, second: Conv) -> int:
    """Groups of ``second(first(x))``: a part that keeps channels apart leaves the groups of the other one."""
    for part, other in ((first, second), (second, first)):
        if part.groups == len(part.weight) == part.groups * part.weight.shape[1]:
            return other.groups
    return 1


def _grouped(weight: NDArray[Any], groups: int) -> NDArray[np.float32]:
    n = weight.shape[1] // groups
    rows = np.split(weight, groups)
    parts = [row[:, number * n : (number + 1) * n] for number, row in enumerate(rows)]
    return np.concatenate(parts).astype(np.float32)
