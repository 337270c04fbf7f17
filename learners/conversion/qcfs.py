"""Quantized clip-floor-shift activations (QCFS, Bu et al. 2022): an ANN learns with the values that rates can take."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable

from snn4.learners.conversion.ann_graph import AnnGraph
from snn4.learners.conversion.tracing import Tracer, is_relu
from snn4.policies.fused import is_fused, run_in_threads
from snn4.policies.networks.classifier import Classifier


class QuantizedReLU(nn.Module):
    """``size * clip(floor(x * levels / size + 1/2) / levels, 0, 1)``; its gradient ignores the floor.

    A neuron with soft reset that starts from half its threshold has this rate after ``levels`` steps of a constant
    current.

    Args:
        size: the largest value (C,), which is learned.
        levels: number of values above 0.
        limit: the largest output of the activation in whose place it stands; it is kept for the ANN twin.
    """

    def __init__(self, size: Tensor, levels: int, limit: float | None = None) -> None:
        super().__init__()
        self.levels, self.limit = levels, limit
        self.size = nn.Parameter(size.clone())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, …) -> (B, C, …) in float32."""
        if x.device.type == "cpu" and is_fused() and len(x):
            return _Quantized.apply(x.float(), self.size, self.levels)  # type: ignore[no-any-return, no-untyped-call]
        size = self.size.view(-1, *(1,) * (x.dim() - 2))
        scaled = (x.float() / size).clamp(0, 1) * self.levels
        steps = scaled + (torch.floor(scaled + 0.5) - scaled).detach()
        return steps / self.levels * size

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


BLOCKS = 64
"""Parts in which the gradients of sizes are summed."""


class _Quantized(torch.autograd.Function):
    """The activation in one pass over memory, forward and backward; of the input alone it keeps a copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: Tensor, levels: int) -> Tensor:
        from snn4.learners.conversion._qcfs_kernels import forward

        ctx.levels = np.float32(levels)
        rows = _rows(x)
        out = torch.empty_like(rows)
        run_in_threads(forward, len(rows), rows.numpy(), size.detach().numpy(), ctx.levels, out.numpy())
        ctx.save_for_backward(x, size)
        return _like(out, x)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        from snn4.learners.conversion._qcfs_kernels import backward

        x, size = ctx.saved_tensors
        rows, grads = _rows(x), _rows(grad.float())
        grad_x, grad_size = torch.empty_like(rows), torch.zeros(BLOCKS, len(size))
        run_in_threads(
            backward, BLOCKS, rows.numpy(), size.detach().numpy(), ctx.levels, grads.numpy(), grad_x.numpy(),
            grad_size.numpy(),
        )  # fmt: skip
        return _like(grad_x, x), grad_size.sum(0), None


def _rows(x: Tensor) -> Tensor:
    """``x`` (B, C, …) as contiguous rows (n, C); no copy in channels_last."""
    return x.detach().movedim(1, -1).flatten(0, -2).contiguous()


def _like(rows: Tensor, x: Tensor) -> Tensor:
    return rows.view(x.movedim(1, -1).shape).movedim(-1, 1)


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
        limit = graph.node(node.name).options.get("limit")
        traced.add_submodule(node.name, QuantizedReLU(sizes[node.name], levels, limit))
        with traced.graph.inserting_after(node):
            new = traced.graph.call_module(node.name, (node.all_input_nodes[0],))
        node.replace_all_uses_with(new)
        traced.graph.erase_node(node)
    traced.recompile()
    return traced


def quantize_scaled(ann: Classifier, graph: AnnGraph, levels: int) -> None:
    """Put a `QuantizedReLU` in place of every ReLU of ``ann``, the network of a ``graph`` in units of its rates."""
    parts: Any = ann.network
    for name in graph.neurons:
        parts[0].layers[name] = QuantizedReLU(torch.ones(graph.channels[name]), levels).requires_grad_(False)


def learned_sizes(graph: AnnGraph, module: Any) -> dict[str, Tensor]:
    """The sizes that a `quantize`\\ d ``module`` has learned, by the names in its own trace."""
    layers = dict(module.named_modules())
    return {name: layers[name].size.detach().abs().clamp_min(1e-3) for name in graph.neurons}
