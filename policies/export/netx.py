"""An integer network as a ``.net`` file (HDF5), which lava-dl's ``netx`` reads."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from snn4.policies.export.integer import UNIT, IntegerDense, IntegerLayer, IntegerNeurons
from snn4.policies.export.integer_network import IntegerNetwork
from snn4.policies.export.placement import message_shape


def net_file(network: IntegerNetwork) -> bytes | None:
    """The content of the file; None without h5py, which is no dependency.

    ``netx`` gives every bias the exponent 6. Biases are rounded to whole units here; with the mantissas and exponents
    of the bundle set in its neurons, it computes the same as the bundle. Where a host drives the first neurons, their
    biases are 0 here, and are set before each decision. Resets: ``hdf5.Network(path, reset_interval=window,
    reset_offset=0)`` behind a host, else ``reset_offset=1``.
    """
    try:
        import h5py
    except ImportError:
        return None
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        layers = file.create_group("layer")
        for number, fields in enumerate(_blocks(network)):
            _write(layers.create_group(str(number)), fields)
    return content.getvalue()


def _blocks(network: IntegerNetwork) -> list[dict[str, Any]]:
    """The blocks of ``netx`` in order: the input, then synapses with their neurons."""
    first = network.layers[0]
    if first.synapses is None:
        neurons = first.neurons
        blocks = [{"type": "input", "shape": neurons.shape, "bias": 0, "neuron": _neuron(neurons)}]
        shape, rest = neurons.shape, network.layers[1:]
    else:
        shape, rest = message_shape(network), network.layers
        blocks = [{"type": "input", "shape": shape}]
    for layer in rest:
        if isinstance(layer.synapses, IntegerDense) and len(shape) == 3:
            shape = (math.prod(shape),)
            blocks.append({"type": "flatten", "shape": shape})
        blocks.append(_block(layer, shape))
        shape = layer.neurons.shape
    return blocks


def _block(layer: IntegerLayer, before: tuple[int, ...]) -> dict[str, Any]:
    neurons, synapses = layer.neurons, layer.synapses
    assert synapses is not None
    fields: dict[str, Any] = {
        "shape": neurons.shape, "weight": synapses.weight.astype(np.float32), "neuron": _neuron(neurons),
        "bias": _bias(neurons),
    }  # fmt: skip
    if isinstance(synapses, IntegerDense):
        return {**fields, "type": "dense", "inFeatures": before[0], "outFeatures": neurons.shape[0]}
    geometry = {name: getattr(synapses, name) for name in ("stride", "padding", "dilation", "groups")}
    kernel = synapses.weight.shape[2:]
    return {
        **fields, **geometry, "type": "conv", "kernelSize": kernel, "inChannels": before[0],
        "outChannels": neurons.shape[0],
    }  # fmt: skip


def _bias(neurons: IntegerNeurons) -> Any:
    """In units: (n,) of dense neurons, (C,) of convolutional ones."""
    units = neurons.bias_mant.astype(np.float64) * 2.0**neurons.bias_exp / UNIT
    per_channel = np.broadcast_to(units, neurons.shape).reshape(neurons.shape[0], -1)[:, 0]
    return np.rint(per_channel).astype(np.float32)


def _neuron(neurons: IntegerNeurons) -> dict[str, Any]:
    return {
        "type": "CUBA", "iDecay": neurons.du + 1, "vDecay": neurons.dv, "vThMant": neurons.vth, "refDelay": 1,
        "gradedSpike": False,
    }  # fmt: skip


def _write(group: Any, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if isinstance(value, dict):
            _write(group.create_group(name), value)
        elif isinstance(value, str):
            group.create_dataset(name, data=np.array([value.encode()], "S10"))
        else:
            group.create_dataset(name, data=value)
