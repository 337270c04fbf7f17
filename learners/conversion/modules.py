"""Layers of torch, one by one, as nodes of an `AnnGraph`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snn4.learners.conversion.building import Builder, refused

RELU = "train with nn.ReLU"
NO_NEGATIVE = "spikes cannot be negative; train with nn.ReLU"
OWN_STATISTICS = "its statistics change with every input; train with nn.BatchNorm2d"
IN_TIME = "distil the policy into one with state: carry"
HINTS: dict[type[nn.Module], str] = {
    nn.LeakyReLU: NO_NEGATIVE, nn.PReLU: NO_NEGATIVE, nn.ELU: NO_NEGATIVE, nn.SELU: NO_NEGATIVE, nn.CELU: NO_NEGATIVE,
    nn.SiLU: RELU, nn.GELU: RELU, nn.Mish: RELU, nn.Softplus: RELU,
    nn.Sigmoid: "train with nn.ReLU or nn.ReLU6", nn.Tanh: "train with nn.ReLU or nn.ReLU6",
    nn.Hardtanh: "train with nn.ReLU6", nn.Hardswish: "train with nn.ReLU6", nn.Hardsigmoid: "train with nn.ReLU6",
    nn.Softmax: "leave it out: the largest score stays the largest", nn.LogSoftmax: "leave it out: it moves no score",
    nn.LayerNorm: OWN_STATISTICS, nn.GroupNorm: OWN_STATISTICS, nn.InstanceNorm2d: OWN_STATISTICS,
    _BatchNorm: "it needs running statistics; set track_running_stats",
    nn.Conv2d: "set its padding in numbers, and padding_mode to zeros",
    nn.MaxPool2d: "leave out return_indices",
    nn.AdaptiveMaxPool2d: "use nn.MaxPool2d, or average",
    nn.MultiheadAttention: "distil the network into a Spikformer: snn4-agent distill",
    nn.LSTM: IN_TIME, nn.GRU: IN_TIME, nn.RNN: IN_TIME,
}  # fmt: skip
"""What to put in place of layers that cannot be converted."""

CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
LINEAR = ("in_features", "out_features")
AVG_POOL = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
MAX_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
SAME = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity)
"""Layers that change nothing in eval mode."""


def is_activation(layer: nn.Module) -> bool:
    """Whether ``layer`` becomes neurons."""
    return isinstance(layer, nn.ReLU) or (isinstance(layer, nn.Hardtanh) and layer.min_val == 0)


def limit_of(layer: nn.Module) -> float | None:
    """The largest output of an activation."""
    return float(layer.max_val) if isinstance(layer, nn.Hardtanh) else getattr(layer, "limit", None)


def add_module(builder: Builder, node: fx.Node, layer: nn.Module) -> None:
    """Append ``layer``; `CannotConvert` if it has no spiking counterpart."""
    match layer:
        case nn.Conv2d() if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            builder.synapses(node, "conv2d", layer, _options(layer, CONV))
        case nn.Linear():
            builder.synapses(node, "linear", layer, _options(layer, LINEAR))
        case _BatchNorm() if layer.running_mean is not None:
            _norm(builder, node, layer)
        case _ if is_activation(layer) or hasattr(layer, "levels"):  # levels: a quantized ReLU (qcfs)
            builder.add(node, "neuron", limited(limit_of(layer)))
        case nn.MaxPool2d() if not layer.return_indices:
            builder.add(node, "max_pool", _options(layer, MAX_POOL))
        case nn.AvgPool2d():
            builder.add(node, "avg_pool", _options(layer, AVG_POOL))
        case nn.AdaptiveAvgPool2d():
            builder.add(node, "adaptive_avg_pool", {"output_size": layer.output_size})
        case nn.Flatten():
            builder.flat(node)
        case _ if isinstance(layer, SAME):
            builder.alias(node)
        case _:
            hint = next((text for kind, text in HINTS.items() if isinstance(layer, kind)), "distil it instead")
            raise refused(node, type(layer).__name__, hint)


def limited(limit: float | None) -> dict[str, float]:
    """Options of neurons whose ANN units have this largest output."""
    return {} if limit is None else {"limit": limit}


def _norm(builder: Builder, node: fx.Node, norm: Any) -> None:
    """A batch norm, which is a scaling of each channel in eval mode."""
    scale = (norm.running_var + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
    shift = -norm.running_mean * scale + (0 if norm.bias is None else norm.bias)
    builder.scaling(node, scale.detach().float().cpu(), shift.detach().float().cpu())


def _options(layer: nn.Module, names: tuple[str, ...]) -> Mapping[str, Any]:
    return {name: getattr(layer, name) for name in names}
