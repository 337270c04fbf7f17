from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import numpy as np
import pytest
from descriptions import HARD, policy

from snn4.benchmarks import c
from snn4.benchmarks.records import read_record
from snn4.policies.export.c import c_source
from snn4.policies.export.loihi import integer_network


@pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not there: install a C compiler")
def test_the_loop_in_c_decides_as_single_calls(tmp_path: Path) -> None:
    observations = np.random.default_rng(0).normal(0, 1, (20, 4)).astype(np.float32)
    network = integer_network(policy(HARD), observations)
    (tmp_path / "net.c").write_text(c_source(network, "net"))
    library = c._compiled(tmp_path, "net", 4)
    single, looped = (ctypes.c_float * 2)(), (ctypes.c_float * 2)()
    pointer = ctypes.POINTER(ctypes.c_float)
    number = library.decide(observations[-1].ctypes.data_as(pointer), single)
    library.loop(observations.ctypes.data_as(pointer), 20, 3, looped)
    scores = network.run(observations[-1:]).scores[0]
    assert list(single) == list(looped) == list(scores.astype(np.float32))
    assert number == scores.argmax()


def test_the_published_table_has_a_line_per_network() -> None:
    lines = c.table(read_record(c.RESULT)).splitlines()
    assert lines[0].startswith("| network | flash | C, called in a loop of C, µs |")
    assert "CartPole-v1, 64-64-2, T = 4" in lines[2]
