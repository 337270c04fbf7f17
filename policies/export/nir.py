"""NIR graphs (Pedersen et al. 2024) of trained networks, in the form that most programs read alike.

Neurons have r = 1 where synapses come before them, whose weights are divided by 1 - decay; arrays are float64, so that
the way back is exact; grouped convolutions are written in full; and average pooling is written as a sum whose followers
have smaller weights, because Norse drops NIR's AvgPool2d. docs/nir.md has the reasons.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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
    Pool,
    Rectify,
)
from snn4.policies.export.nir_library import nir
from snn4.policies.export.nir_neurons import DT, require_expressible, to_node, wish
from snn4.policies.export.scales import Doubles, Rescaled, rescale

FORMAT = 1
"""Version of what this project writes into the metadata of a graph."""
OUTPUT, INTEGRATOR = "output", "integrator"
"""Names of NIR's nodes behind the last layer."""


def to_nir(
    description: Description, readout: bool = False, soft_reset: bool = False, metadata: Mapping[str, Any] | None = None
) -> Any:
    """The ``nir.NIRGraph`` of a trained network; its input is the coded signal, its output the last layer's at a step.

    Args:
        description: of the network.
        readout: whether the graph ends with the integration of the outputs (LI, or I for a mean), whose value after T
            steps is the score. snnTorch cannot read it, and Norse drops it. It is in the metadata anyway.
        soft_reset: whether neurons with ``reset: soft`` may be written. NIR's neurons are set to v_reset, so only the
            metadata tell of it, which other programs do not read: they compute something else.
        metadata: more entries: strings, numbers, arrays.

    Raises:
        NotExportable: NIR cannot express a part of the network; the message names it, and the nearest that works.
    """
    for layer in description.layers:
        _require_in_nir(layer)
    neurons = {layer.name: layer.part for layer in description.neurons()}
    for layer in description.neurons():
        require_expressible(layer, soft_reset)
    wishes = {name: wish(part) for name, part in neurons.items()}  # type: ignore[arg-type]
    sums = {
        layer.name: float(np.prod(layer.part.size))
        for layer in description.layers
        if isinstance(layer.part, Pool) and layer.part.padding == (0, 0)  # programs ignore the padding of sums
    }
    rescaled = rescale(description.layers, description.signal_shape, wishes, sums)
    nodes, edges = _nodes_and_edges(description, rescaled)
    if readout:
        nodes[INTEGRATOR] = _integrator(description)
        edges = [(a, INTEGRATOR if b == OUTPUT else b) for a, b in edges] + [(INTEGRATOR, OUTPUT)]
    known = {**_about(description), "integrated": readout, **(metadata or {})}
    square = all(layer.part.weight.shape[2] == layer.part.weight.shape[3] for layer in _convs(description))
    # nir 1.0.8 takes the height of a kernel for its width, too, when it checks shapes.
    return nir.NIRGraph(nodes, edges, metadata=known, type_check=square)


def write_nir(graph: Any, path: Path) -> None:
    """Write ``graph`` into ``path``, completely or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        nir.write(partial, graph)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _convs(description: Description) -> list[Any]:
    return [layer for layer in description.layers if isinstance(layer.part, Conv)]


def _require_in_nir(layer: Layer) -> None:
    match layer.part:
        case Pool(kind="max"):
            raise NotExportable(f"{layer.name}: got max pooling, which NIR does not have; allowed is average pooling: "
                                "train with pooling: avg")  # fmt: skip
        case Rectify():
            raise NotExportable(
                f"{layer.name}: got ReLU, which NIR does not have; allowed are neurons: train with stem: small"
            )


def _nodes_and_edges(description: Description, rescaled: Rescaled) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """NIR's nodes by name, and its edges; a sum is the node after it, which then has several edges."""
    names, shapes = _names(description.layers), {INPUT: description.signal_shape}
    nodes: dict[str, Any] = {INPUT: nir.Input(np.array(description.signal_shape))}
    sources: dict[str, list[str]] = {INPUT: [INPUT]}
    """The nodes whose sum is the output of a layer."""
    edges: list[tuple[str, str]] = []
    for layer in rescaled.layers:
        into = [node for name in layer.inputs for node in sources[name]]
        if isinstance(layer.part, Add) and len(set(into)) == len(into):
            sources[layer.name] = into
        else:
            name = names[layer.name]
            nodes[name] = _node(layer, shapes[layer.inputs[0]], rescaled)
            edges += [(source, name) for source in into]
            sources[layer.name] = [name]
        shapes[layer.name] = layer.shape
    nodes[OUTPUT] = nir.Output(np.array(description.layers[-1].shape))
    return nodes, [*edges, *((source, OUTPUT) for source in sources[description.layers[-1].name])]


def _names(layers: tuple[Layer, ...]) -> dict[str, str]:
    """A name for each layer that is also one in Python, as some programs make attributes of nodes."""
    taken = {INPUT, OUTPUT, INTEGRATOR}
    names = {}
    for layer in layers:
        plain = re.sub(r"\W", "_", layer.name)
        name = plain if plain[:1].isalpha() else f"layer_{plain}"
        while name in taken:
            name += "_"
        taken.add(name)
        names[layer.name] = name
    return names


def _node(layer: Layer, shape: tuple[int, ...], rescaled: Rescaled) -> Any:
    """The NIR node of ``layer``, whose inputs have this ``shape``."""
    match layer.part:
        case Dense():
            return nir.Affine(weight=layer.part.weight, bias=layer.part.bias)
        case Conv(stride=stride, padding=padding, dilation=dilation):
            return nir.Conv2d(
                input_shape=shape[1:], weight=_without_groups(layer.part), stride=stride, padding=padding,
                dilation=dilation, groups=1, bias=layer.part.bias,
            )  # fmt: skip
        case Pool(size=size, stride=stride, padding=padding):
            pool = nir.SumPool2d if layer.name in rescaled.changed else nir.AvgPool2d
            return pool(kernel_size=np.array(size), stride=np.array(stride), padding=np.array(padding))
        case Flatten():
            return nir.Flatten(input_type=np.array(shape), start_dim=0, end_dim=-1)
        case Neurons():
            return to_node(layer.part, layer.shape, rescaled.remaining[layer.name])
    raise NotExportable(f"{layer.name}: got the sum of a signal and itself, allowed are different signals")


def _without_groups(conv: Conv) -> Doubles:
    """(C_out, C_in, kH, kW) with zeros between groups: programs fail on groups, and so does nir's own check."""
    n_out, n_in, *kernel = conv.weight.shape
    weight = np.zeros((n_out, n_in * conv.groups, *kernel))
    for group, rows in enumerate(np.split(np.arange(n_out), conv.groups)):
        weight[rows, group * n_in : (group + 1) * n_in] = conv.weight[rows]
    return weight


def _integrator(description: Description) -> Any:
    """A node whose membrane after T steps is the score: readout[T - 1 - k] falls with a constant factor."""
    shape, weights = description.layers[-1].shape, description.readout.astype(np.float64)
    ratios = weights[:-1] / weights[1:] if (weights > 0).all() else np.array([np.inf])
    decay = float(ratios.mean()) if len(ratios) else 1.0
    if not np.allclose(ratios, decay, rtol=1e-5) or decay > 1 + 1e-5:
        raise NotExportable(f"--readout: got weights {weights.round(4).tolist()} of the steps, allowed are those of a "
                            "leaky integrator; leave it out: the metadata have the weights")  # fmt: skip
    if np.isclose(decay, 1, rtol=1e-6):
        return nir.I(r=np.full(shape, weights[-1]))
    lost = np.full(shape, 1 - decay)
    return nir.LI(tau=DT / lost, r=weights[-1] / lost, v_leak=np.zeros(shape))


def _about(description: Description) -> dict[str, Any]:
    """Everything but nodes and edges: strings (JSON where they are not plain), numbers and arrays."""
    d = description
    known: dict[str, Any] = {
        "snn4_format": FORMAT, "dt": DT, "T": d.T, "readout": d.readout,
        "coding": json.dumps(dataclasses.asdict(d.coding)), "input_shape": np.array(d.input_shape),
    }  # fmt: skip
    if d.actions is not None:
        known["actions"] = json.dumps(dataclasses.asdict(d.actions))
    if d.classes is not None:
        known["classes"] = json.dumps(d.classes)
    return known | {key: np.array(value) for key, value in (("mean", d.mean), ("std", d.std)) if value is not None}
