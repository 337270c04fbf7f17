"""The convolutions alone are those of the network."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from snn4.benchmarks.limit import LIMIT, convolutions
from snn4.benchmarks.peers import ann_net
from snn4.benchmarks.speed import _judge_training


@pytest.mark.parametrize("T", [1, 3])
def test_as_many_multiplications_as_the_twin_s_convolutions(T: int) -> None:
    with FlopCounterMode(display=False) as counter:
        net = ann_net(T)
        net(torch.randn(32, 3, 32, 32)).sum().backward()
    whole = sum(n for op, n in counter.get_flop_counts()["Global"].items() if "convolution" in str(op))
    step = convolutions(T)
    with FlopCounterMode(display=False) as counter:
        step()
    assert counter.get_total_flops() == T * whole


def test_it_stands_beside_the_peers() -> None:
    times = {"snn4": [4.0, 4.0], "norse": [8.0, 8.0], LIMIT: [3.0, 3.0]}
    rows = _judge_training("", {"snn4": 3.0})([times, times])
    assert [(row.against, row.ratio["median"], row.reached) for row in rows] == [
        ("norse", 2.0, False), (LIMIT, 0.75, False),
    ]  # fmt: skip
