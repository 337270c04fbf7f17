"""The ``.net`` file has the layers of the network, with the fields that lava-dl's netx asks for."""

from __future__ import annotations

import io

import numpy as np
import pytest

from snn4.policies.export.integer import IntegerConv, IntegerDense, IntegerLayer, IntegerNeurons
from snn4.policies.export.integer_network import IntegerNetwork, Readout
from snn4.policies.export.netx import net_file

h5py = pytest.importorskip("h5py")


def test_layers_and_fields() -> None:
    rng = np.random.default_rng(0)
    conv = IntegerConv(2 * rng.integers(-127, 128, (3, 2, 3, 2)), (2, 1), (1, 0))
    dense = IntegerDense(2 * rng.integers(-127, 128, (4, 18)))
    bias = rng.integers(-4000, 4000, (3, 1, 1))
    layers = (
        IntegerLayer("driven", None, IntegerNeurons((2, 6, 3), 300, dv=200, bias_exp=7)),
        IntegerLayer("conv", conv, IntegerNeurons((3, 3, 2), 200, dv=100, du=2000, bias_mant=bias, bias_exp=3)),
        IntegerLayer("out", dense, IntegerNeurons((4,), 131071)),
    )
    network = IntegerNetwork(layers, Readout(1.0), (1.0, 1.0, 1.0), 5, None, (2, 6, 3), 8)
    content = net_file(network)
    assert content is not None
    with h5py.File(io.BytesIO(content)) as file:
        blocks = [file["layer"][str(number)] for number in range(4)]
        assert [block["type"][0] for block in blocks] == [b"input", b"conv", b"flatten", b"dense"]
        assert [tuple(block["shape"][()]) for block in blocks] == [(2, 6, 3), (3, 3, 2), (18,), (4,)]
        neuron = blocks[1]["neuron"]
        assert [int(neuron[name][()]) for name in ("iDecay", "vDecay", "vThMant")] == [2001, 100, 200]
        assert int(blocks[3]["neuron"]["iDecay"][()]) == 4096
        np.testing.assert_array_equal(blocks[1]["weight"], conv.weight)
        np.testing.assert_array_equal(blocks[1]["bias"], np.rint(bias.ravel() * 8 / 64))
        assert [tuple(blocks[1][name][()]) for name in ("kernelSize", "stride", "padding")] == [(3, 2), (2, 1), (1, 0)]
        assert (int(blocks[3]["inFeatures"][()]), int(blocks[3]["outFeatures"][()])) == (18, 4)
