"""An ANN as a graph of nodes: torch.fx follows the module, batch norms are folded, and every activation is found."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from snn4.policies.networks.classifier import Classifier
from snn4.policies.networks.graph import INPUT, Node


class CannotConvert(ValueError):
    """A part of a network that has no spiking counterpart; the message names its place, and a replacement."""


HINTS: dict[type[nn.Module], str] = {
    nn.LeakyReLU: "spikes cannot be negative; train with nn.ReLU",
    nn.SiLU: "train with nn.ReLU",
    nn.GELU: "train with nn.ReLU",
    nn.ELU: "spikes cannot be negative; train with nn.ReLU",
    nn.Sigmoid: "train with nn.ReLU or nn.ReLU6",
    nn.Tanh: "train with nn.ReLU or nn.ReLU6",
    nn.Hardswish: "train with nn.ReLU6",
    nn.LayerNorm: "its statistics change with every input; train with nn.BatchNorm2d",
    nn.GroupNorm: "its statistics change with every input; train with nn.BatchNorm2d",
    nn.MultiheadAttention: "distil the network into a Spikformer: snn4-agent distill",
    nn.LSTM: "distil the policy into one with state: carry",
}
"""What to put in place of layers that cannot be converted."""


@dataclass
class AnnGraph:
    """A traced ANN: nodes in order, of `snn4.policies.networks.graph`, with ``neuron`` for each ReLU."""

    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Weight and bias of each node with synapses."""
    channels: dict[str, int] = field(default_factory=dict)
    """Channels, or features, of each node's output."""

    def consumers(self, name: str) -> list[Node]:
        """The nodes that take the output of ``name``."""
        return [node for node in self.nodes if name in node.inputs]

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    @property
    def neurons(self) -> list[str]:
        """Names of the activations, in order."""
        return [node.name for node in self.nodes if node.kind == "neuron"]


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
    was_training = module.training
    module.eval()
    try:
        traced = fx.GraphModule(module, Tracer().trace(module))
        with torch.no_grad():
            ShapeProp(traced).propagate(example)
    except CannotConvert:
        raise
    except Exception as error:  # torch.fx raises errors of many types, from code that it cannot follow
        raise CannotConvert(
            f"{type(module).__name__}: got code that torch.fx cannot follow ({str(error).splitlines()[0]}); allowed is "
            f"a forward without branches or loops that depend on values"
        ) from error
    finally:
        module.train(was_training)
    graph = _Builder(traced, example).graph
    _fold_norms(graph)
    _fold_subsampling(graph)
    return graph


class Tracer(fx.Tracer):
    """Follows modules down to those of torch, and to this project's norms, which branch on sizes."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type(m).__module__.startswith("snn4.learners.conversion") or isinstance(m, _BatchNorm) or type(m) in HINTS:
            return True
        return super().is_leaf_module(m, module_qualified_name)


RELUS = (F.relu, torch.relu, "relu", "relu_")


def is_relu(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Whether ``node`` is a ReLU, as a module, function or method."""
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], (nn.ReLU, nn.ReLU6))
    return node.op in ("call_function", "call_method") and node.target in (*RELUS, F.relu6)


def _check_weights(module: nn.Module) -> None:
    for name, value in module.state_dict().items():
        if not torch.isfinite(value).all():
            raise CannotConvert(f"{name}: got NaN or infinity, allowed are finite weights; take an earlier checkpoint")


class _Builder:
    """Turns the nodes of torch.fx into those of an `AnnGraph`."""

    def __init__(self, traced: fx.GraphModule, example: Tensor) -> None:
        self.modules = dict(traced.named_modules())
        self.graph = AnnGraph()
        self.names: dict[fx.Node, str] = {}
        self.graph.channels[INPUT] = example.shape[1]
        for node in traced.graph.nodes:
            self._take(node)

    def _take(self, node: fx.Node) -> None:
        match node.op:
            case "placeholder":
                self.names[node] = INPUT
            case "output":
                return
            case "call_module":
                self._module(node, self.modules[str(node.target)])
            case "call_function" | "call_method":
                self._function(node)
            case _:
                raise self._refused(node, "a constant tensor", "make it a layer's bias")

    def _module(self, node: fx.Node, layer: nn.Module) -> None:
        match layer:
            case nn.Conv2d() if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
                self._synapses(node, "conv2d", layer, _options(layer, CONV_OPTIONS))
            case nn.Linear():
                self._synapses(
                    node, "linear", layer, {"in_features": layer.in_features, "out_features": layer.out_features}
                )
            case _BatchNorm() if layer.running_mean is not None:
                self._norm(node, layer)
            case nn.ReLU6():
                self._add(node, "neuron", {"limit": 6.0})
            case nn.ReLU():
                self._add(node, "neuron")
            case _ if hasattr(layer, "levels"):  # a quantized ReLU (qcfs)
                self._add(node, "neuron")
            case nn.MaxPool2d():
                self._add(node, "max_pool", _options(layer, MAX_POOL_OPTIONS))
            case nn.AvgPool2d():
                self._add(node, "avg_pool", _options(layer, AVG_POOL_OPTIONS))
            case nn.AdaptiveAvgPool2d():
                self._add(node, "adaptive_avg_pool", {"output_size": layer.output_size})
            case nn.Flatten():
                self._add(node, "flatten")
            case nn.Dropout() | nn.Dropout2d() | nn.Identity():
                self.names[node] = self.names[self._inputs(node)[0]]
            case _:
                hint = next((text for kind, text in HINTS.items() if isinstance(layer, kind)), "distil it instead")
                raise self._refused(node, type(layer).__name__, hint)

    def _function(self, node: fx.Node) -> None:
        target: Any = node.target
        if target in RELUS:
            self._add(node, "neuron")
        elif target is F.relu6:
            self._add(node, "neuron", {"limit": 6.0})
        elif target in (operator.add, operator.iadd, torch.add, "add", "add_"):
            if not all(isinstance(x, fx.Node) for x in node.args[:2]):
                raise self._refused(node, "a sum with a constant", "make it a layer's bias")
            self._add(node, "add")
        elif target in (torch.cat, torch.concat):
            self._concat(node)
        elif target in (torch.flatten, "flatten", "view", "reshape"):
            self._flat(node)
        elif target in (torch.mean, "mean", F.adaptive_avg_pool2d, F.avg_pool2d, F.max_pool2d):
            self._pooling_function(node)
        elif target is operator.getitem:
            self._slice(node)
        elif target is F.pad:
            self._pad(node)
        elif target in (F.dropout, "contiguous", "size", getattr):
            if node.args and isinstance(node.args[0], fx.Node) and target not in ("size", getattr):
                self.names[node] = self.names[node.args[0]]
        else:
            name = getattr(target, "__name__", target)
            raise self._refused(node, f"the function {name}", "use a layer that the error's allowed list has")

    def _synapses(self, node: fx.Node, kind: str, layer: nn.Conv2d | nn.Linear, options: dict[str, Any]) -> None:
        name = self._add(node, kind, options)
        weight = layer.weight.detach().clone()
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().clone()
        self.graph.weights[name] = (weight, bias)

    def _norm(self, node: fx.Node, norm: Any) -> None:
        """A batch norm as a depthwise convolution; after a fully connected layer, it becomes a part of that layer."""
        scale = (norm.running_var + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
        shift = -norm.running_mean * scale + (0 if norm.bias is None else norm.bias)
        self._affine(node, scale.detach(), shift.detach())

    def _affine(self, node: fx.Node, scale: Tensor, shift: Tensor) -> None:
        source = self.names[self._inputs(node)[0]]
        if len(_shape(node)) == 2:
            at = next((n for n in self.graph.nodes if n.name == source and n.kind == "linear"), None)
            if at is None or len(self._inputs(node)[0].users) > 1:
                raise self._refused(node, "a norm that follows no Linear of its own", "put it after a Linear")
            weight, bias = self.graph.weights[source]
            self.graph.weights[source] = (weight * scale.view(-1, 1), bias * scale + shift)
            self.names[node] = source
            return
        self._depthwise(node, scale, shift)

    def _depthwise(self, node: fx.Node, scale: Tensor, shift: Tensor) -> None:
        name = self._add(node, "conv2d", depthwise(len(scale)))
        self.graph.weights[name] = (scale.view(-1, 1, 1, 1), shift)

    def _concat(self, node: fx.Node) -> None:
        parts = node.args[0]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if dim not in (1, 1 - len(_shape(node))):
            raise self._refused(node, f"a concatenation along dimension {dim}", "concatenate channels, dimension 1")
        self._add(node, "concat", inputs=list(parts))  # type: ignore[arg-type]

    def _flat(self, node: fx.Node) -> None:
        source, shape = self._inputs(node)[0], _shape(node)
        if shape == _shape(source):
            self.names[node] = self.names[source]
        elif len(shape) == 2 and shape[0] == _shape(source)[0]:
            self._add(node, "flatten", inputs=[source])
        else:
            raise self._refused(node, f"a reshape to {tuple(shape)}", "flatten all but the batch")

    def _pooling_function(self, node: fx.Node) -> None:
        source, shape = self._inputs(node)[0], _shape(node)
        if node.target in (F.avg_pool2d, F.max_pool2d):
            kernel, options = _pooling_options(node)
            kind = "avg_pool" if node.target is F.avg_pool2d else "max_pool"
            self._add(node, kind, {"kernel_size": kernel, **options}, [source])
        elif node.target is F.adaptive_avg_pool2d:
            size = node.args[1] if len(node.args) > 1 else node.kwargs["output_size"]
            self._add(node, "adaptive_avg_pool", {"output_size": size}, [source])
        elif len(_shape(source)) == 4 and tuple(shape) == tuple(_shape(source)[:2]):
            name = self._add(node, "adaptive_avg_pool", {"output_size": 1}, [source], name=f"{node.name}_pool")
            self.graph.nodes.append(Node(node.name, "flatten", (name,)))
            self.graph.channels[node.name] = shape[1]
            self.names[node] = node.name
        else:
            raise self._refused(node, f"a mean from {tuple(_shape(source))} to {tuple(shape)}", "average H and W")

    def _slice(self, node: fx.Node) -> None:
        """``x[:, :, ::s, ::s]`` as a depthwise convolution with this stride."""
        source, index = self._inputs(node)[0], node.args[1]
        if "size" in str(source.target) or not isinstance(index, tuple):
            return  # a number, such as a batch size
        steps = tuple(getattr(part, "step", None) or 1 for part in index)
        plain = all(isinstance(part, slice) and part.start is None and part.stop is None for part in index)
        if not plain or len(index) != 4 or steps[:2] != (1, 1):
            raise self._refused(
                node, "a slice of channels or of a part of the image", "subsample with x[:, :, ::s, ::s]"
            )
        channels = _shape(source)[1]
        name = self._add(node, "conv2d", {**depthwise(channels), "stride": steps[2:]}, [source])
        self.graph.weights[name] = (torch.ones(channels, 1, 1, 1), torch.zeros(channels))

    def _pad(self, node: fx.Node) -> None:
        """Padding of channels with zeros, as a 1 x 1 convolution."""
        source, pad = self._inputs(node)[0], tuple(node.args[1])  # type: ignore[arg-type]
        value = node.args[3] if len(node.args) > 3 else node.kwargs.get("value")
        if any(pad[:4]) or len(pad) > 6 or value not in (None, 0, 0.0):
            raise self._refused(node, f"padding {pad}", "pad in the convolution, or channels with zeros")
        before = pad[4] if len(pad) > 4 else 0
        n, m = _shape(source)[1], _shape(node)[1]
        weight = torch.zeros(m, n, 1, 1)
        weight[before : before + n, :, 0, 0] = torch.eye(n)
        name = self._add(node, "conv2d", {"in_channels": n, "out_channels": m, "kernel_size": 1}, [source])
        self.graph.weights[name] = (weight, torch.zeros(m))

    def _add(
        self, node: fx.Node, kind: str, options: Mapping[str, Any] | None = None,
        inputs: list[fx.Node] | None = None, name: str | None = None,
    ) -> str:  # fmt: skip
        name = name or node.name
        sources = self._inputs(node) if inputs is None else inputs
        self.graph.nodes.append(Node(name, kind, tuple(self.names[x] for x in sources), dict(options or {})))
        self.graph.channels[name] = _shape(node)[1] if len(_shape(node)) > 1 else 1
        self.names[node] = name
        return name

    def _inputs(self, node: fx.Node) -> list[fx.Node]:
        return node.all_input_nodes if node.op == "call_module" else [x for x in node.args if isinstance(x, fx.Node)]

    def _refused(self, node: fx.Node, what: str, hint: str) -> CannotConvert:
        place = str(node.target) if node.op == "call_module" else node.name
        return CannotConvert(
            f"{place}: got {what}, which cannot be converted; {hint}. Allowed are Linear, Conv2d, BatchNorm, ReLU, "
            f"ReLU6, max and average pooling, sums, concatenation of channels and flattening"
        )


CONV_OPTIONS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
AVG_POOL_OPTIONS = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
MAX_POOL_OPTIONS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


def _options(layer: nn.Module, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in names}


def depthwise(channels: int) -> dict[str, Any]:
    """Options of a 1 x 1 convolution of each channel with itself."""
    return {"in_channels": channels, "out_channels": channels, "kernel_size": 1, "groups": channels}


def _shape(node: fx.Node) -> torch.Size:
    return node.meta["tensor_meta"].shape  # type: ignore[no-any-return]


def _pooling_options(node: fx.Node) -> tuple[Any, dict[str, Any]]:
    """Kernel and other options of a pooling function."""
    names = ("kernel_size", "stride", "padding")
    options = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
    return options.pop("kernel_size"), {k: v for k, v in options.items() if v is not None and k != "return_indices"}


def _fold_norms(graph: AnnGraph) -> None:
    """Fold every 1 x 1 depthwise layer into the convolution before it, if nothing else takes that one's output."""
    for node in list(graph.nodes):
        if node.kind != "conv2d" or not is_depthwise(node.options):
            continue
        (source,) = node.inputs
        before = next((n for n in graph.nodes if n.name == source), None)
        if before is None or before.kind != "conv2d" or len(graph.consumers(source)) > 1:
            continue
        scale, shift = graph.weights.pop(node.name)
        weight, bias = graph.weights[source]
        graph.weights[source] = (weight * scale, bias * scale.flatten() + shift)
        _remove(graph, node)


def _fold_subsampling(graph: AnnGraph) -> None:
    """Fold a subsampling into the 1 x 1 convolution that pads its channels: the two make one shortcut."""
    for node in list(graph.nodes):
        before = next((n for n in graph.nodes if n.name in node.inputs), None)
        if node.kind != "conv2d" or node.options.get("kernel_size") != 1 or "stride" in node.options or before is None:
            continue
        if before.kind == "conv2d" and "stride" in before.options and is_depthwise({**before.options, "stride": 1}):
            if len(graph.consumers(before.name)) > 1 or bool((graph.weights[before.name][0] != 1).any()):
                continue
            options = {**node.options, "stride": before.options["stride"]}
            graph.nodes = [node._replace(options=options) if n.name == node.name else n for n in graph.nodes]
            graph.weights.pop(before.name)
            _remove(graph, before)


def _remove(graph: AnnGraph, node: Node) -> None:
    (source,) = node.inputs
    graph.nodes = [
        n._replace(inputs=tuple(source if name == node.name else name for name in n.inputs))
        for n in graph.nodes
        if n.name != node.name
    ]


def is_depthwise(options: Mapping[str, Any]) -> bool:
    """Whether a convolution with these ``options`` scales each channel and does nothing else."""
    plain = options.get("kernel_size") in (1, (1, 1)) and options.get("stride", 1) in (1, (1, 1))
    return plain and options.get("groups", 1) == options["in_channels"] == options["out_channels"]
