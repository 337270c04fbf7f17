from __future__ import annotations

from snn4.agent.show.counted import COUNTED, METERED_BEFORE, counted


def test_a_table_says_what_its_energies_hold() -> None:
    now, before = {"neuron_macs": 0.0}, {"effective_macs": 0.0}
    assert (counted([now, now]), counted([now, before])) == (COUNTED, METERED_BEFORE)
