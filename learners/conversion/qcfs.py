"""Quantized clip-floor-shift activations (QCFS, Bu et al. 2022): an ANN learns with the values that rates can take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from snn4.learners.conversion.tracing import AnnGraph, Tracer, is_relu

from snn4.policies.networks.classifier import Classifier


class QuantizedReLU(nn.Module):
    """``size * clip(floor(x * levels / size + 1/2) / levels, 0, 1)``; its gradient ignores the floor.

    A neuron with soft reset that starts from half its threshold has this rate after ``levels`` steps of a constant
    current.

    Args:
        size: the largest value (C,), which is learned.
        levels: number of values above 0.
    """

    def __init__(self, size: Tensor, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.size = nn.Parameter(size.clone())

    def forward(self, x: Tensor) -> Tensor:
        size = self.size.view(-1, *(1,) * (x.dim() - 2))
        scaled = (x.float() / size).clamp(0, 1) * self.levels
        steps = scaled + (torch.floor(scaled + 0.5) - scaled).detach()
        return steps / self.levels * size

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


def quantize(module: nn.Module, graph: AnnGraph, sizes: dict[str, Tensor], levels: int) -> fx.GraphModule:
    """``module`` with a `QuantizedReLU` for every ReLU; all other layers are shared.

    Args:
        module: the ANN.
        graph: its trace, whose neurons have the names of the ReLUs.
        sizes: the size (C,) from which each neuron starts.
        levels: of all activations.
    """
    module = module.network if isinstance(module, Classifier) else module
    traced = fx.GraphModule(module, Tracer().trace(module))
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        if not is_relu(node, modules):
            continue
        # The name of the node, so that neurons have the same names in a trace of the result.
        traced.add_submodule(node.name, QuantizedReLU(sizes[node.name], levels))
        with traced.graph.inserting_after(node):
            new = traced.graph.call_module(node.name, (node.all_input_nodes[0],))
        node.replace_all_uses_with(new)
        traced.graph.erase_node(node)
    traced.recompile()
    return traced


def learned_sizes(graph: AnnGraph, module: Any) -> dict[str, Tensor]:
    """The sizes that a `quantize`\\ d ``module`` has learned, by the names in its own trace."""
    layers = dict(module.named_modules())
    return {name: layers[name].size.detach().abs().clamp_min(1e-3) for name in graph.neurons}
