"""Lava and the integer model do the same with random networks."""

from __future__ import annotations

import numpy as np
import pytest
from side_environment import lava_python

from snn4.benchmarks.lava import COMPARED, compared, random_case


@pytest.mark.parametrize("networks", [5, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_every_spike_u_and_v_is_equal(networks: int) -> None:
    python = lava_python()
    steps = 100 if networks > 5 else 15
    cases = [random_case(np.random.default_rng(number), steps) for number in range(networks)]
    rows = compared(cases, python)
    assert [[row[name] for name in COMPARED] for row in rows] == [[1.0] * 3] * networks
    assert {"conv", "dense"} <= {kind for row in rows for kind in row["kinds"].split("-")}
    assert np.mean([row["spike_rate"] for row in rows]) > 0.05
