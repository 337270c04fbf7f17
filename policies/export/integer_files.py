"""Integer networks as plain arrays and JSON, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.description import Actions, Add, Conv, Dense, Flatten, Layer, Part, Pool, Rectify
from snn4.policies.export.host import Host
from snn4.policies.export.integer import IntegerConv, IntegerDense, IntegerLayer, IntegerNeurons
from snn4.policies.export.integer_network import IntegerNetwork, Readout

Arrays = dict[str, NDArray[Any]]

FORMAT = 1
"""Of the JSON: it counts up when files of before can no longer be read."""
PARTS = {part.__name__.lower(): part for part in (Dense, Conv, Pool, Flatten, Rectify, Add)}
SYNAPSES = {"dense": IntegerDense, "conv": IntegerConv}


def to_arrays(network: IntegerNetwork) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of ``network`` by name, and all the rest as JSON; its function ``encode`` is left behind."""
    arrays: Arrays = {}
    layers = []
    for number, layer in enumerate(network.layers):
        place = f"layers.{number}"
        synapses = layer.synapses and {
            "type": "dense" if isinstance(layer.synapses, IntegerDense) else "conv",
            **_taken(layer.synapses, f"{place}.synapses", arrays),
        }
        neurons = _taken(layer.neurons, f"{place}.neurons", arrays)
        layers.append({"name": layer.name, "synapses": synapses, "neurons": neurons})
    about = {
        "format": FORMAT,
        "layers": layers,
        "host": network.host and _host(network.host, arrays),
        "readout": network.readout._asdict(),
        "actions": network.actions and dataclasses.asdict(network.actions),
        **{name: getattr(network, name) for name in _PLAIN},
    }
    return arrays, about


def from_arrays(arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> IntegerNetwork:
    """The network of `to_arrays`; ``about`` may have been through JSON.

    Raises:
        ValueError: for another format.
    """
    if about.get("format") != FORMAT:
        raise ValueError(f"format: got {about.get('format')}, allowed is {FORMAT}; export the network again")
    layers = []
    for number, fields in enumerate(about["layers"]):
        place, synapses = f"layers.{number}", None
        if fields["synapses"]:
            make = SYNAPSES[fields["synapses"]["type"]]
            synapses = make(**_given(fields["synapses"], f"{place}.synapses", arrays))
        neurons = IntegerNeurons(**_given(fields["neurons"], f"{place}.neurons", arrays))
        layers.append(IntegerLayer(fields["name"], synapses, neurons))
    return IntegerNetwork(
        layers=tuple(layers),
        host=about["host"] and _host_of(about["host"], arrays),
        readout=Readout(**about["readout"]),
        actions=about["actions"] and Actions(**_plain(about["actions"])),
        **_plain({name: about[name] for name in _PLAIN}),
    )


_PLAIN = ("scales", "T", "input_shape", "bits", "coding", "classes", "mean", "std")


def _host(host: Host, arrays: Arrays) -> dict[str, Any]:
    layers = []
    for number, layer in enumerate(host.layers):
        part = {"type": type(layer.part).__name__.lower(), **_taken(layer.part, f"host.{number}", arrays)}
        layers.append({"name": layer.name, "part": part, "inputs": layer.inputs, "shape": layer.shape})
    return {"layers": layers, "scale": host.scale, "exponent": host.exponent}


def _host_of(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Host:
    layers = []
    for number, fields in enumerate(about["layers"]):
        part: Part = PARTS[fields["part"]["type"]](**_given(fields["part"], f"host.{number}", arrays))
        layers.append(Layer(fields["name"], part, tuple(fields["inputs"]), tuple(fields["shape"])))
    return Host(tuple(layers), about["scale"], about["exponent"])


def _taken(part: Any, place: str, arrays: Arrays) -> dict[str, Any]:
    """The fields of ``part`` that are not arrays; the others go to ``arrays``."""
    fields = part._asdict()
    arrays |= {f"{place}.{name}": value for name, value in fields.items() if isinstance(value, np.ndarray)}
    return {name: value for name, value in fields.items() if not isinstance(value, np.ndarray)}


def _given(fields: Mapping[str, Any], place: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    own = {name.removeprefix(f"{place}."): value for name, value in arrays.items() if name.startswith(f"{place}.")}
    return {**_plain({name: value for name, value in fields.items() if name != "type"}), **own}


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """``fields`` with tuples where JSON has made lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
