"""Layers of which the engine stores the present synapses alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engines import assert_same_spikes, engine_of, make, observations

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig


def is_compressed(net: SpikingMLP) -> list[bool]:
    """Whether the engine stores the present synapses of each layer alone."""
    return [len(starts) > 0 for starts in engine_of(net)._weights().present[0]]


@pytest.mark.parametrize("code", ["direct", "rate"])
def test_compressed_rows_give_the_same_spikes(code: Any) -> None:
    """Also after weights have changed, appeared or gone."""
    net = make((40, 30), sparsity=0.92, coding=CodingConfig(code))
    with torch.no_grad():
        net.layers[0].weight.mul_(4)
        net.layers[2].weight.mul_(4)
    assert is_compressed(net) == [True, True]
    assert_same_spikes(net, observations(300))
    with torch.no_grad():
        net.layers[2].weight[3] = 0.25  # a whole row: more synapses than fit in
        assert_same_spikes(net, observations(300))
        assert is_compressed(net) == [True, False]
        net.layers[2].weight[3] = 0
    assert_same_spikes(net, observations(300))
    assert is_compressed(net) == [True, True]
