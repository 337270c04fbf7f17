"""The benchmark of compression: its engine rows and its tables."""

from __future__ import annotations

from snn4.benchmarks.compression import COMPRESSION, CONTENDERS, UNPRUNED, engine_rows
from snn4.benchmarks.records import contents
from snn4.benchmarks.tables.compression import engine_table, network_table


def test_policies_take_turns() -> None:
    rows = engine_rows(1)
    assert [(row["T"], row["policy"]) for row in rows] == [(T, name) for T in (4, 16) for name in CONTENDERS]
    assert all(row["times_as_fast"] == 1 for row in rows if row["policy"] == UNPRUNED)
    assert all(0.05 < rate < 0.7 for row in rows for rate in row["spike_rates"])


def test_tables() -> None:
    results = contents(COMPRESSION)
    assert network_table(results).startswith("| network | setting | seeds | before | after |")
    assert engine_table(results).count(UNPRUNED) == 2
