"""The synapses between layers of neurons as sparse matrices: convolutions, average pooling and adds become lists."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snn4.policies.export.description import (
    INPUT,
    Add,
    Conv,
    Dense,
    Description,
    Flatten,
    Layer,
    Neurons,
    NotExportable,
    Part,
    Pool,
)

MOST_SYNAPSES = 20_000_000
"""Of one layer: the lists of more would not fit into the memory of a usual computer."""


class Synapses(NamedTuple):
    """The current of a layer at one step: the sum over sources of matrix @ output, plus bias."""

    sources: dict[str, Any]
    """For the name of each layer of neurons, or `INPUT`: a sparse matrix (n_out, n_in) of float64."""
    bias: NDArray[np.float64]
    """(n_out,)."""


def synapses_between(description: Description) -> dict[str, Synapses]:
    """What drives each layer of neurons, and the scores (by the name of the last layer); all layers are flattened.

    Linear layers that follow each other are merged into one matrix.

    Raises:
        NotExportable: for a layer that is not linear, and for more than `MOST_SYNAPSES`; the message names it.
    """
    n_inputs = math.prod(description.signal_shape)
    values = {INPUT: Synapses({INPUT: sparse.identity(n_inputs, format="csr")}, np.zeros(n_inputs))}
    shapes = {INPUT: description.signal_shape}
    driven = {}
    for layer in description.layers:
        inputs = [values[name] for name in layer.inputs]
        if isinstance(layer.part, Neurons):
            driven[layer.name] = inputs[0]
            n = math.prod(layer.shape)
            values[layer.name] = Synapses({layer.name: sparse.identity(n, format="csr")}, np.zeros(n))
        else:
            values[layer.name] = _merged(layer, inputs, shapes[layer.inputs[0]])
        shapes[layer.name] = layer.shape
    return {**driven, description.layers[-1].name: values[description.layers[-1].name]}


def _merged(layer: Layer, inputs: list[Synapses], shape: tuple[int, ...]) -> Synapses:
    if isinstance(layer.part, Add):
        sources: dict[str, Any] = {}
        for given in inputs:
            for name, matrix in given.sources.items():
                sources[name] = sources[name] + matrix if name in sources else matrix
        return Synapses(sources, sum((given.bias for given in inputs), np.zeros(())))
    if isinstance(layer.part, Flatten):
        return inputs[0]
    matrix, bias = linear(layer.name, layer.part, shape)
    sources = {name: matrix @ before for name, before in inputs[0].sources.items()}
    for after in sources.values():
        _require_few(layer.name, after.nnz)
    return Synapses(sources, matrix @ inputs[0].bias + bias)


def linear(name: str, part: Part, shape: tuple[int, ...]) -> tuple[Any, NDArray[np.float64]]:
    """Sparse matrix (n_out, n_in) and bias (n_out,) of ``part`` for inputs of ``shape``, both flattened.

    Raises:
        NotExportable: ``part`` is not linear.
    """
    match part:
        case Dense():
            return sparse.csr_matrix(part.weight.astype(np.float64)), part.bias.astype(np.float64)
        case Conv():
            return _convolution(name, part, shape)
        case Pool(kind="average"):
            weight = np.full((shape[0], 1, *part.size), 1 / math.prod(part.size), np.float32)
            none = np.zeros(shape[0], np.float32)
            return _convolution(name, Conv(weight, none, part.stride, part.padding, (1, 1), shape[0]), shape)
        case Pool():
            raise NotExportable(f"{name}: got max pooling, allowed is average pooling; train with pooling: average")
    raise NotExportable(f"{name}: got {type(part).__name__}, allowed are linear layers between neurons")


def _convolution(name: str, conv: Conv, shape: tuple[int, ...]) -> tuple[Any, NDArray[np.float64]]:
    n_in, n_out = math.prod(shape), len(conv.weight)
    sources = _patches(conv, np.arange(n_in, dtype=np.int32).reshape(shape))
    height, width = sources.shape[-2:]
    _require_few(name, conv.weight.size * height * width)
    by_group = sources.reshape(conv.groups, -1, *sources.shape[1:])
    pre = by_group[np.arange(n_out) * conv.groups // n_out]  # (C_out, C_in / groups, kH, kW, H, W)
    post = np.arange(n_out * height * width, dtype=np.int32).reshape(n_out, 1, 1, 1, height, width)
    weight, pre, post = np.broadcast_arrays(conv.weight[..., None, None].astype(np.float64), pre, post)
    inside = (pre >= 0) & (weight != 0)
    size = (n_out * height * width, n_in)
    matrix = sparse.csr_matrix((weight[inside], (post[inside], pre[inside])), size)
    return matrix, np.repeat(conv.bias.astype(np.float64), height * width)


def _patches(conv: Conv, indices: NDArray[np.int32]) -> NDArray[np.int32]:
    """(C, kH, kW, H_out, W_out): which of ``indices`` (C, H, W) each tap of the kernel sees; -1 outside."""
    (pad_h, pad_w), (kernel_h, kernel_w) = conv.padding, conv.weight.shape[2:]
    padded = np.pad(indices, ((0, 0), (pad_h, pad_h), (pad_w, pad_w)), constant_values=-1)
    spans = conv.dilation[0] * (kernel_h - 1) + 1, conv.dilation[1] * (kernel_w - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, (1, 2))
    chosen = windows[:, :: conv.stride[0], :: conv.stride[1], :: conv.dilation[0], :: conv.dilation[1]]
    return chosen.transpose(0, 3, 4, 1, 2)


def _require_few(name: str, synapses: int) -> None:
    if synapses > MOST_SYNAPSES:
        raise NotExportable(
            f"{name}: got {synapses:,} synapses, allowed are {MOST_SYNAPSES:,}; take fewer channels or smaller images"
        )
