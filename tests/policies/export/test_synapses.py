"""Lists of synapses compute what the layers compute that they replace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from descriptions import output

from snn4.policies.coding import CodingConfig
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
)
from snn4.policies.export.synapses import linear, synapses_between
from snn4.policies.neurons import NeuronConfig

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype(np.float32)


def conv(n_out: int, per_group: int, size: tuple[int, int], *windows: tuple[int, int], groups: int = 1) -> Conv:
    return Conv(floats(n_out, per_group, *size), floats(n_out), *windows, groups)  # type: ignore[arg-type]


PARTS = [
    conv(3, 4, (3, 3), (1, 1), (1, 1), (1, 1)),
    conv(6, 2, (2, 3), (2, 1), (0, 2), (1, 2), groups=2),
    conv(4, 1, (3, 1), (1, 3), (2, 0), (2, 1), groups=4),
    Pool("average", (2, 3), (2, 2), (1, 0)),
]


@pytest.mark.parametrize("part", PARTS)
def test_a_list_computes_what_its_layer_computes(part: Conv | Pool) -> None:
    x = RNG.normal(0, 1, (1, 2, 4, 7, 8))
    matrix, bias = linear("layer", part, (4, 7, 8))
    expected = output(part, [torch.from_numpy(x).float().double()]).flatten(2)[0]
    np.testing.assert_allclose(x[0].reshape(2, -1) @ matrix.T.toarray() + bias, expected, atol=1e-5)


def description(*layers: Layer) -> Description:
    return Description(layers, (2, 6, 6), 3, np.ones(3, np.float32) / 3, CodingConfig(), lambda x: x[None])


def test_layers_between_neurons_become_one_list() -> None:
    neurons = Neurons(NeuronConfig(), np.full(1, 0.5, np.float32))
    first = conv(3, 2, (3, 3), (1, 1), (1, 1), (1, 1))
    second, shortcut = conv(4, 3, (3, 3), (2, 2), (1, 1), (1, 1)), conv(4, 3, (1, 1), (2, 2), (0, 0), (1, 1))
    head = Dense(floats(5, 16), floats(5))
    layers = (
        Layer("first", first, (INPUT,), (3, 6, 6)),
        Layer("n1", neurons, ("first",), (3, 6, 6)),
        Layer("second", second, ("n1",), (4, 3, 3)),
        Layer("n2", neurons, ("second",), (4, 3, 3)),
        Layer("shortcut", shortcut, ("n1",), (4, 3, 3)),
        Layer("add", Add(), ("n2", "shortcut"), (4, 3, 3)),
        Layer("pool", Pool("average", (2, 2), (1, 1), (0, 0)), ("add",), (4, 2, 2)),
        Layer("flat", Flatten(), ("pool",), (16,)),
        Layer("head", head, ("flat",), (5,)),
    )
    driven = synapses_between(description(*layers))
    assert {name: set(synapses.sources) for name, synapses in driven.items()} == {
        "n1": {INPUT}, "n2": {"n1"}, "head": {"n1", "n2"},
    }  # fmt: skip
    outputs = {name: torch.from_numpy(RNG.integers(0, 2, (1, 1, *shape))).double()
               for name, shape in (("n1", (3, 6, 6)), ("n2", (4, 3, 3)))}  # fmt: skip
    values = dict(outputs)
    for layer in layers[4:]:
        values[layer.name] = output(layer.part, [values[name] for name in layer.inputs])
    synapses = driven["head"]
    scores = sum(matrix @ outputs[name].flatten().numpy() for name, matrix in synapses.sources.items())
    np.testing.assert_allclose(scores + synapses.bias, values["head"][0, 0], atol=1e-5)


def test_too_many_synapses_are_named() -> None:
    big = Conv(np.zeros((64, 64, 3, 3), np.float32), np.zeros(64, np.float32), (1, 1), (1, 1), (1, 1), 1)
    with pytest.raises(NotExportable, match=r"big: got 150,994,944 synapses, allowed are 20,000,000"):
        linear("big", big, (64, 64, 64))
