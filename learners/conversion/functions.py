"""Functions and methods of tensors, one by one, as nodes of an `AnnGraph`."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

from snn4.learners.conversion.ann_graph import depthwise
from snn4.learners.conversion.building import Builder, inputs_of, refused, shape_of
from snn4.learners.conversion.modules import AVG_POOL, IN_TIME, MAX_POOL, NO_NEGATIVE, OWN_STATISTICS, RELU

RELUS = (F.relu, torch.relu, "relu", "relu_")
SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
HINTS = {
    **dict.fromkeys(("gelu", "silu", "mish", "softplus", "sigmoid", "tanh", "hardswish", "hardtanh", "clamp"), RELU),
    **dict.fromkeys(("leaky_relu", "elu", "selu", "prelu"), NO_NEGATIVE),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "batch_norm"), OWN_STATISTICS),
    **dict.fromkeys(("softmax", "log_softmax"), "leave it out: the largest score stays the largest"),
    **dict.fromkeys(("mul", "truediv", "div", "matmul", "bmm", "einsum"), "leave products of values out, or distil it"),
    **dict.fromkeys(("sub", "neg"), "move the sign into the weights of a layer"),
    **dict.fromkeys(("conv2d", "linear"), "make it a layer: nn.Conv2d or nn.Linear"),
    "scaled_dot_product_attention": "distil the network into a Spikformer: snn4-agent distill",
    "lstm": IN_TIME,
}
"""What to put in place of functions that cannot be converted, by name."""


def is_activation(node: fx.Node) -> bool:
    """Whether the function of ``node`` becomes neurons."""
    return node.op in ("call_function", "call_method") and node.target in (*RELUS, F.relu6)


def add_function(builder: Builder, node: fx.Node) -> None:
    """Append the function of ``node``; `CannotConvert` if it has no spiking counterpart."""
    target: Any = node.target
    if is_activation(node):
        builder.add(node, "neuron", {"limit": 6.0} if target is F.relu6 else {}, inputs_of(node)[:1])
    elif target in SUMS:
        _sum(builder, node)
    elif target in (torch.cat, torch.concat):
        _concat(builder, node)
    elif target in (torch.flatten, "flatten", "view", "reshape"):
        builder.flat(node)
    elif target in (torch.mean, "mean"):
        _mean(builder, node)
    elif target in (F.adaptive_avg_pool2d, F.avg_pool2d, F.max_pool2d):
        _pooling(builder, node)
    elif target is operator.getitem:
        _slice(builder, node)
    elif target is F.pad:
        _pad(builder, node)
    elif target in (F.dropout, "contiguous"):
        builder.alias(node)
    elif target not in ("size", getattr):  # numbers, such as that of samples
        name = str(getattr(target, "__name__", target)).strip("_")
        raise refused(node, f"the function {name}", HINTS.get(name, "put a layer in its place, or distil the network"))


def _sum(builder: Builder, node: fx.Node) -> None:
    parts = inputs_of(node)
    if len(parts) != 2 or len(node.args) + len(node.kwargs) > 2:
        raise refused(node, "a sum with a constant or a factor", "make it a layer's bias, or a part of its weights")
    if shape_of(parts[0]) != shape_of(parts[1]):
        shapes = " and ".join(str(tuple(shape_of(part)[1:])) for part in parts)
        raise refused(node, f"a sum of {shapes}", "add values of the same shape")
    builder.add(node, "add")


def _concat(builder: Builder, node: fx.Node) -> None:
    parts: Any = node.args[0] if node.args else node.kwargs["tensors"]
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if dim not in (1, 1 - len(shape_of(node))):
        raise refused(node, f"a concatenation along dimension {dim}", "concatenate channels, dimension 1")
    builder.add(node, "concat", sources=list(parts))


def _mean(builder: Builder, node: fx.Node) -> None:
    """The mean over height and width."""
    source, shape = inputs_of(node)[0], shape_of(node)
    dims: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    before = shape_of(source)
    listed = isinstance(dims, (tuple, list)) and len(before) == 4 and {dim % 4 for dim in dims} == {2, 3}
    if not listed:
        raise refused(node, f"a mean from {tuple(before)} to {tuple(shape)}", "average H and W")
    if len(shape) == 4:
        builder.add(node, "adaptive_avg_pool", {"output_size": 1}, [source])
        return
    pooled = builder.add_before(node, "adaptive_avg_pool", {"output_size": 1})
    builder.add(node, "flatten", sources=[source])
    builder.graph.nodes[-1] = builder.graph.nodes[-1]._replace(inputs=(pooled,))


def _pooling(builder: Builder, node: fx.Node) -> None:
    kinds: dict[Any, tuple[str, tuple[str, ...]]] = {
        F.avg_pool2d: ("avg_pool", AVG_POOL),
        F.max_pool2d: ("max_pool", (*MAX_POOL, "return_indices")),
        F.adaptive_avg_pool2d: ("adaptive_avg_pool", ("output_size",)),
    }
    kind, names = kinds[node.target]
    options = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
    if options.pop("return_indices", False):
        raise refused(node, "a max pooling that returns indices", "leave out return_indices")
    options.pop("input", None)
    builder.add(node, kind, {name: value for name, value in options.items() if value is not None}, inputs_of(node)[:1])


def _slice(builder: Builder, node: fx.Node) -> None:
    """``x[:, :, ::s, ::s]`` as a depthwise convolution with this stride."""
    source, index = inputs_of(node)[0], node.args[1]
    if not hasattr(source.meta.get("tensor_meta"), "shape") and not isinstance(index, tuple):
        return  # a number, such as that of samples
    parts: Any = index if isinstance(index, tuple) else (index,)
    steps = tuple(getattr(part, "step", None) or 1 for part in parts)
    plain = all(isinstance(part, slice) and part.start is None and part.stop is None for part in parts)
    if not plain or len(parts) != 4 or steps[:2] != (1, 1):
        raise refused(node, "a slice of channels or of a part of the image", "subsample with x[:, :, ::s, ::s]")
    channels = shape_of(source)[1]
    options = {**depthwise(channels), "stride": steps[2:]}
    builder.weighted(node, "conv2d", options, torch.ones(channels, 1, 1, 1), torch.zeros(channels))


def _pad(builder: Builder, node: fx.Node) -> None:
    """Padding of channels with zeros, as a 1 x 1 convolution."""
    source = inputs_of(node)[0]
    names = ("input", "pad", "mode", "value")
    arguments: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    pad = tuple(arguments["pad"])
    zeros = arguments.get("mode", "constant") == "constant" and not arguments.get("value")
    if any(pad[:4]) or len(pad) != 6 or min(pad) < 0 or not zeros:
        raise refused(node, f"padding {pad}", "pad in the convolution, or channels with zeros")
    n, m = shape_of(source)[1], shape_of(node)[1]
    weight = torch.zeros(m, n, 1, 1)
    weight[pad[4] : pad[4] + n, :, 0, 0] = torch.eye(n)
    options = {"in_channels": n, "out_channels": m, "kernel_size": 1}
    builder.weighted(node, "conv2d", options, weight, torch.zeros(m))
