"""An ANN as a graph of nodes: torch.fx follows the module, batch norms are folded, and every activation is found."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.modules.batchnorm import _BatchNorm

from snn4.learners.conversion import functions, modules
from snn4.learners.conversion.ann_graph import AnnGraph as AnnGraph
from snn4.learners.conversion.ann_graph import CannotConvert as CannotConvert
from snn4.learners.conversion.building import Builder, refused
from snn4.learners.conversion.folding import fold
from snn4.policies.modes import evaluating
from snn4.policies.networks.classifier import Classifier
from snn4.policies.networks.graph import INPUT


def trace(module: nn.Module, example: Tensor) -> AnnGraph:
    """The graph of ``module`` in eval mode, with batch norms folded into the layers before them.

    Args:
        module: made of Linear, Conv2d, BatchNorm, ReLU, ReLU6, max, average and adaptive pooling, sums, concatenation,
            flattening, dropout, and shortcuts that subsample and pad (He et al. 2016, option A).
        example: a batch of inputs (B, C, H, W) or (B, n).

    Raises:
        CannotConvert: names the part that cannot be converted, and what to put instead.
    """
    _check_weights(module)
    if isinstance(module, Classifier):
        module = module.network  # its check of the input cannot be traced
    with evaluating(module):
        graph = _built(_traced(module, example), example)
    fold(graph)
    return graph


def _check_weights(module: nn.Module) -> None:
    for name, value in module.state_dict().items():
        if not torch.isfinite(value).all():
            raise CannotConvert(f"{name}: got NaN or infinity, allowed are finite weights; take an earlier checkpoint")


def _traced(module: nn.Module, example: Tensor) -> fx.GraphModule:
    """What torch.fx sees, with the shape of every output."""
    name = type(module).__name__
    try:
        traced = fx.GraphModule(module, Tracer().trace(module))
    except Exception as error:  # torch.fx raises errors of many types, from code that it cannot follow
        raise CannotConvert(
            f"{name}: got code that torch.fx cannot follow ({_first_line(error)}); allowed is a forward without "
            f"branches or loops that depend on values"
        ) from error
    try:
        ShapeProp(traced).propagate(example)
    except Exception as error:  # of torch, for a wrong size or dtype
        cause = error.__cause__ or error
        raise CannotConvert(
            f"calibration: got {tuple(example.shape[1:])}, {example.dtype}, which {name} does not take "
            f"({_first_line(cause)}); allowed is what it has learned from"
        ) from error
    return traced


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class Tracer(fx.Tracer):
    """Follows modules down to those of torch, and to this project's norms, which branch on sizes."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_own = type(m).__module__.startswith("snn4.learners.conversion")
        computes_as_torch = type(m).forward in (nn.Conv2d.forward, nn.Linear.forward)  # or a class derived from these
        known = is_own or computes_as_torch or isinstance(m, _BatchNorm) or type(m) in modules.HINTS
        return known or super().is_leaf_module(m, module_qualified_name)


def is_relu(node: fx.Node, layers: Mapping[str, nn.Module]) -> bool:
    """Whether ``node`` is a ReLU, as a module, function or method."""
    if node.op == "call_module":
        return modules.is_activation(layers[str(node.target)])
    return functions.is_activation(node)


def _built(traced: fx.GraphModule, example: Tensor) -> AnnGraph:
    builder = Builder(traced, example.shape[1])
    for node in traced.graph.nodes:
        match node.op:
            case "placeholder":
                builder.names[node] = INPUT
            case "output":
                return builder.end(node)
            case "call_module":
                modules.add_module(builder, node, builder.modules[str(node.target)])
            case "call_function" | "call_method":
                functions.add_function(builder, node)
            case _:
                raise refused(node, "a constant tensor", "make it a layer's bias")
    raise CannotConvert("output: got none, allowed are class scores (B, n)")
