"""Spiking networks of this project from NIR graphs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snn4.policies.export.description import INPUT, Add, Conv, Dense, Flatten, Layer, Neurons, Pool
from snn4.policies.export.graphs import graph_net, kind_and_options
from snn4.policies.export.nir_library import nir
from snn4.policies.export.nir_neurons import DT, Imported, NotImportable, of_node, short, with_gain
from snn4.policies.export.nir_reading import Wiring, read_nir, wiring
from snn4.policies.export.scales import Doubles, rescale
from snn4.policies.networks.graph import GraphNet
from snn4.policies.networks.graph_config import LAYERS
from snn4.policies.neurons import NeuronConfig


def from_nir(
    source: Any, T: int | None = None, dt: float | None = None, image: tuple[int, int, int] | None = None,
    any_readout: bool = False,
) -> GraphNet:  # fmt: skip
    """The spiking network of a NIR graph, with the same spikes at every step.

    Its input is the graph's: images (B, C, H, W), or a signal (T, B, C, H, W). A graph of n values takes images of
    shape (1, 1, n). Its scores are the mean over T steps of the outputs.

    Args:
        source: a ``nir.NIRGraph``, or the path of a file.
        T: steps of a decision; None takes the metadata's.
        dt: step of the graph's neurons, seconds; None takes the metadata's, or 1e-4, as other programs do.
        image: channels, height and width of the images of a graph that takes C * H * W values.
        any_readout: whether the scores may differ from those of the graph's own readout. The weights of the steps are
            then in its metadata (readout), for the outputs of `SpikingClassifier.run`.

    Raises:
        NotImportable: the file cannot be read, or a part of the graph has no counterpart here; the message names it.
    """
    graph = source if isinstance(source, nir.NIRGraph) else read_nir(Path(source))
    about = graph.metadata
    T = T or (int(about["T"]) if "T" in about else None)
    if T is None:
        raise NotImportable("T: got none in the metadata, allowed is a number of steps; set it")
    burn_in = 0 if any_readout else _burn_in(about)
    if burn_in >= T:
        raise NotImportable(f"T: got {T}, allowed are more steps than the burn-in of the readout ({burn_in})")
    wires = wiring(graph)
    layers, sums = _layers(wires, dt or float(about.get("dt", DT)))
    if len(layers[-1].shape) != 1:
        raise NotImportable(f"{layers[-1].name}: got an output of shape {layers[-1].shape}, allowed is (n,)")
    try:
        return graph_net(layers, _image(wires.input_shape, image), T, burn_in, sums)
    except ValueError as error:
        raise NotImportable(str(error)) from error


def _image(shape: tuple[int, ...], image: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """Channels, height and width of the images of a graph with inputs of ``shape``."""
    whole = shape if len(shape) == 3 else (1, 1, *shape)
    if len(shape) not in (1, 3) or (
        image is not None and image != shape and (len(shape) == 3 or np.prod(image) != shape[0])
    ):
        allowed = "(n,) and (C, H, W)" if image is None else f"that of the images, {image}, or as many values"
        raise NotImportable(f"input: got shape {shape}, allowed is {allowed}")
    return image or whole  # type: ignore[return-value]


def _burn_in(about: Mapping[str, Any]) -> int:
    """Steps at the start that do not count."""
    weights = np.asarray(about.get("readout", np.ones(1)), np.float64)
    steps = int((weights == 0).argmin())
    if not np.allclose(weights[steps:], weights[-1], rtol=1e-5):
        raise NotImportable(
            f"readout: got weights {weights.round(4).tolist()} of the steps, allowed is the same weight for all "
            "after a burn-in; from Python, from_nir(…, any_readout=True) gives the network without its readout"
        )
    return steps


def _layers(wires: Wiring, dt: float) -> tuple[list[Layer], set[str]]:
    """The layers in this project's units; and the names of average pooling that has to sum."""
    layers: list[Layer] = []
    neurons: dict[str, Imported] = {}
    gains: dict[str, float] = {}
    shapes: dict[str, tuple[int, ...]] = {INPUT: wires.input_shape}
    for name, node, inputs in wires.nodes:
        if len(inputs) > 1:
            layers.append(Layer(f"{name}_sum", Add(), inputs, shapes[inputs[0]]))
            inputs = (f"{name}_sum",)
            shapes[inputs[0]] = layers[-1].shape
        part: Any
        if isinstance(node, nir.SumPool2d):
            gains[name] = 1 / float(np.prod(node.kernel_size))
        if type(node).__name__ in _NEURONS:
            if node.r.shape != shapes[inputs[0]]:
                got, own = shapes[inputs[0]], node.r.shape
                raise NotImportable(f"{name}: got inputs of shape {got}, allowed is {own}, that of its neurons")
            neurons[name] = of_node(name, node, dt)
            part = neurons[name].neurons
        else:
            part = _part(name, node)
        layers.append(Layer(name, part, inputs, _shape_after(name, part, shapes[inputs[0]])))
        shapes[name] = layers[-1].shape
    rescaled = rescale(tuple(layers), wires.input_shape, {name: own.wish for name, own in neurons.items()}, gains)
    done = [part for layer in rescaled.layers for part in _with_factor(layer, rescaled.remaining)]
    return done, gains.keys() - rescaled.changed


_NEURONS = ("LIF", "CubaLIF", "IF", "LI")


def _part(name: str, node: Any) -> Any:
    """The part of a node that is no neuron."""
    match type(node).__name__:
        case "Affine" | "Linear" if node.weight.ndim == 2:
            none: Any = np.zeros(len(node.weight))
            return Dense(node.weight, getattr(node, "bias", none))
        case "Scale" if node.scale.ndim == 1:
            return _diagonal(node.scale)
        case "Conv2d" if not isinstance(node.padding, str) or node.padding == "valid":
            padding = (0, 0) if isinstance(node.padding, str) else _pair(node.padding)
            return Conv(node.weight, node.bias, _pair(node.stride), padding, _pair(node.dilation), int(node.groups))
        case "SumPool2d" | "AvgPool2d":
            return Pool("average", _pair(node.kernel_size), _pair(node.stride), _pair(node.padding))
        case "Flatten" if int(node.start_dim) == 0 and int(node.end_dim) in (-1, len(node.input_type["input"]) - 1):
            return Flatten()
    raise NotImportable(
        f"{name}: got {type(node).__name__} {_options(node)}, allowed are Affine, Linear and Scale of vectors, "
        f"Conv2d with padding in pixels, SumPool2d, AvgPool2d, Flatten of all, {', '.join(_NEURONS)}"
    )


def _diagonal(factors: Any) -> Dense:
    return Dense(np.diag(factors), factors * 0)


def _options(node: Any) -> str:
    fields = {field.name: getattr(node, field.name, None) for field in dataclasses.fields(node)}
    sizes = {key: f"of shape {x.shape}" if isinstance(x, np.ndarray) else x for key, x in fields.items()}
    return ", ".join(f"{key} {x}" for key, x in sizes.items() if key not in ("input_type", "output_type", "metadata"))


def _pair(value: Any) -> tuple[int, int]:
    first, *rest = np.asarray(value).astype(int).ravel().tolist()
    return (first, rest[0] if rest else first)


def _shape_after(name: str, part: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the output of ``part``, for inputs of ``shape`` at one step."""
    if isinstance(part, Neurons):
        return shape
    kind, options = kind_and_options(part, NeuronConfig())
    try:
        with torch.device("meta"):
            options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
            return tuple(LAYERS[kind](**options)(torch.empty(1, *shape)).shape[1:])
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise NotImportable(f"{name}: got inputs of shape {shape}, which it does not take ({error})") from error


def _with_factor(layer: Layer, remaining: Mapping[str, Doubles]) -> Iterator[Layer]:
    """``layer``, behind synapses that multiply its inputs where nothing else has taken up their factor."""
    factor = remaining.get(layer.name, np.array(1.0))
    if not isinstance(layer.part, Neurons) or np.allclose(factor, 1, rtol=1e-12, atol=0):
        yield layer
        return
    changed = with_gain(layer.part, factor)
    if changed is not None:
        yield layer._replace(part=changed)
        return
    values, before = short(np.broadcast_to(factor, layer.shape)), f"{layer.name}_gain"
    n = layer.shape[0]
    part: Any
    if len(layer.shape) == 1:
        part = _diagonal(np.broadcast_to(values, layer.shape))
    elif values.ndim == 0 or values.shape == (n, 1, 1):
        weight: Any = np.broadcast_to(values, (n, 1, 1)).reshape(n, 1, 1, 1)
        part = Conv(weight, weight[:, 0, 0, 0] * 0, (1, 1), (0, 0), (1, 1), n)
    else:
        raise NotImportable(f"{layer.name}: got thresholds or r that differ between pixels, allowed is one per channel")
    yield Layer(before, part, layer.inputs, layer.shape)
    yield layer._replace(inputs=(before,))
