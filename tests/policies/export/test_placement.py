"""Synapses that spikes cross on the chip."""

import numpy as np
import pytest

from snn4.policies.export.integer import IntegerConv, IntegerDense
from snn4.policies.export.placement import crossed


@pytest.mark.parametrize("shape", [(3, 2, 5), (3, 2, 2, 6, 6)])
def test_a_spike_crosses_each_synapse_with_a_weight(shape):
    rng = np.random.default_rng(0)
    spikes = rng.random(shape) < 0.4
    if len(shape) == 3:
        weight = rng.integers(-1, 2, (4, 5)) * 100
        synapses = IntegerDense(weight, bits=4, exponent=-2)
        expected = sum(int((weight[:, i] != 0).sum()) for *_, i in np.argwhere(spikes))
    else:
        weight = rng.integers(-1, 2, (3, 2, 3, 3)) * 100
        synapses = IntegerConv(weight, (1, 1), (1, 1))
        padded = np.pad(spikes, ((0, 0),) * 3 + ((1, 1),) * 2)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (3, 4))
        expected = np.einsum("tbcyxij,ocij->", windows.astype(int), (weight != 0).astype(int))
    assert crossed(synapses, spikes).sum() == expected
