"""From trained modules to their `Description`: batch norms are folded, residual blocks become sums of layers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig
from snn4.policies.decoding import WeightedDecoder
from snn4.policies.export.description import (
    INPUT,
    Add,
    Conv,
    Dense,
    Description,
    Flatten,
    Floats,
    Layer,
    Neurons,
    NotExportable,
    Part,
    Pool,
    Rectify,
)
from snn4.policies.network import SpikingResidual
from snn4.policies.networks.classifier import SpikingClassifier
from snn4.policies.networks.folding import fold_norms, is_norm
from snn4.policies.networks.graph import SpikingGraph
from snn4.policies.networks.joins import BurnIn, Join, SpikeMaxPool2d
from snn4.policies.neurons import Neuron


@torch.no_grad()
def describe_classifier(network: SpikingClassifier) -> Description:
    """The description of a trained classifier, as it computes in eval mode.

    Raises:
        NotExportable: for a layer without a description, and for images of unknown size; the message names it.
    """
    config = network.config
    if config.image_size is None:
        raise NotExportable("image_size: got None, allowed is (height, width); set it in the network's options")
    shape = (config.in_channels, *config.image_size)
    folded = copy.deepcopy(network.network).eval().float().cpu()
    for module in list(folded.modules()):
        if isinstance(module, nn.Sequential):
            fold_norms(module)
    layers = _Layers(torch.zeros(1, *shape))
    layers.add("", folded)
    burn_in = sum(layer.steps for layer in folded if isinstance(layer, BurnIn))
    return Description(tuple(layers.done), shape, config.T, _mean(config.T, burn_in), CodingConfig(), lambda x: x[None])


@torch.no_grad()
def describe_mlp(body: SpikingMLP, head: nn.Linear, coding: CodingConfig) -> Description:
    """The description of a policy's hidden layers and its action head.

    Args:
        coding: the code of ``body``.

    Raises:
        NotExportable: for a readout that is no weighted sum, for membranes that go on between decisions, and for
            neurons of another library; the message names it.
    """
    if not isinstance(body.decoder, WeightedDecoder):
        raise NotExportable("readout: got first_spike, allowed are rate, membrane, weighted; train with one of them")
    if body.residues is not None:
        raise NotExportable("residual: got True, allowed is False; on a chip, every decision starts from rest")
    layers = _Layers(torch.zeros(1, body.encoder.n_outputs))
    for number, layer in enumerate([*body.layers, head]):
        layers.add(f"neurons{number // 2}" if number % 2 else f"synapses{number // 2}", layer)

    def encode(x: Floats) -> Floats:
        with torch.no_grad():
            return body.encoder(torch.from_numpy(x)).numpy()  # type: ignore[no-any-return]

    readout = _array(body.decoder.weights)
    return Description(tuple(layers.done), (body.n_inputs,), body.T, readout, coding, encode)


class _Layers:
    """The layers described so far; each one sees an example, which shows the shapes."""

    def __init__(self, example: Tensor) -> None:
        self.done: list[Layer] = []
        self.example, self.last = example, INPUT
        """Output (1, …) and name of the last layer."""

    def add(self, name: str, module: nn.Module) -> None:
        """Describe ``module`` and all that it consists of; ``name`` is its place."""
        if isinstance(module, SpikingResidual):
            self._add_residual(name, module)
        elif isinstance(module, SpikingGraph):
            self._add_graph(name, module)
        elif isinstance(module, nn.Sequential):
            for child, layer in module.named_children():
                self.add(f"{name}.{child}" if name else child, layer)
        elif not isinstance(module, (nn.Identity, nn.Dropout, BurnIn)):  # the readout leaves out the burn-in
            self._append(name, _part(name, module, self.example), (self.last,), _output(module, self.example))

    def _append(self, name: str, part: Part, inputs: tuple[str, ...], output: Tensor) -> None:
        self.done.append(Layer(name, part, inputs, tuple(output.shape[1:])))
        self.example, self.last = output, name

    def _add_residual(self, name: str, module: SpikingResidual) -> None:
        start = self.example, self.last
        ends = []
        for path in ("branch", "shortcut"):
            self.example, self.last = start
            self.add(f"{name}.{path}", getattr(module, path))
            ends.append(self.last)
        self._append(f"{name}.add", Add(), tuple(ends), self.example)

    def _add_graph(self, name: str, graph: SpikingGraph) -> None:
        places, examples = {INPUT: self.last}, {INPUT: self.example}
        for node in graph.nodes:
            layer, place = graph.layers[node.name], f"{name}.{node.name}" if name else node.name
            self.example, self.last = examples[node.inputs[0]], places[node.inputs[0]]
            if isinstance(layer, Join):
                if layer.kind != "add":
                    raise NotExportable(f"{place}: got {layer.kind}, allowed is add; take a network without it")
                self._append(place, Add(), tuple(places[source] for source in node.inputs), self.example)
            else:
                self.add(place, layer)
            places[node.name], examples[node.name] = self.last, self.example


def _part(name: str, module: nn.Module, example: Tensor) -> Part:
    match module:
        case nn.Linear():
            return Dense(_array(module.weight), _bias(module.bias, module.out_features))
        case nn.Conv2d():
            return _conv(name, module)
        case Neuron():
            return Neurons(module.config, _array(module.decay).reshape(module.decay.shape or (1,)))
        case nn.Flatten(start_dim=1, end_dim=-1):
            return Flatten()
        case nn.ReLU():
            return Rectify()
        case nn.AvgPool2d(ceil_mode=False, divisor_override=None) | nn.MaxPool2d(ceil_mode=False, dilation=1):
            return _pool(module)
        case SpikeMaxPool2d():
            return _pool(module.without_time())
        case nn.AdaptiveAvgPool2d() if module.output_size in (1, (1, 1)):
            size = (example.shape[2], example.shape[3])
            return Pool("average", size, size, (0, 0))
    if is_norm(module):
        return _norm(module)
    allowed = "Linear, Conv2d, BatchNorm, average and max pooling, Flatten, residual adds, and neurons of backend torch"
    raise NotExportable(f"{name}: got {type(module).__name__}, allowed are {allowed}")


def _output(module: nn.Module, example: Tensor) -> Tensor:
    if isinstance(module, Neuron):
        return example
    return module.without_time()(example) if isinstance(module, SpikeMaxPool2d) else module(example)  # type: ignore[no-any-return]


def _conv(name: str, conv: nn.Conv2d) -> Conv:
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        got = f"padding_mode {conv.padding_mode}, padding {conv.padding}"
        raise NotExportable(f"{name}: got {got}, allowed are zeros, and a number of pixels")
    options: Any = (conv.stride, conv.padding, conv.dilation)
    stride, padding, dilation = options
    return Conv(_array(conv.weight), _bias(conv.bias, conv.out_channels), stride, padding, dilation, conv.groups)


def _pool(pool: Any) -> Pool:
    kind: Any = "average" if isinstance(pool, nn.AvgPool2d) else "max"
    return Pool(kind, _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding))


def _norm(norm: nn.BatchNorm2d) -> Conv:
    """A norm that could not be folded, as a convolution of each channel with one weight."""
    arguments = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    bias = nn.functional.batch_norm(torch.zeros(1, norm.num_features), *arguments, eps=norm.eps)[0]
    scale = nn.functional.batch_norm(torch.ones(1, norm.num_features), *arguments, eps=norm.eps)[0] - bias
    return Conv(_array(scale.view(-1, 1, 1, 1)), _array(bias), (1, 1), (0, 0), (1, 1), len(scale))


def _mean(T: int, burn_in: int) -> Floats:
    steps = np.arange(T) >= burn_in
    return (steps / steps.sum()).astype(np.float32)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)  # type: ignore[return-value]


def _array(x: Tensor) -> Floats:
    return x.detach().float().cpu().contiguous().numpy().copy()


def _bias(bias: Tensor | None, n: int) -> Floats:
    return np.zeros(n, np.float32) if bias is None else _array(bias)
