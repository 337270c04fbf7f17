from __future__ import annotations

import statistics

import pytest

from snn4.benchmarks.publishing import mean_and_std, spread


def test_the_spread_is_estimated_from_a_sample() -> None:
    values = [0.941, 0.944, 0.952]
    summary = mean_and_std(values, more_is_better=True)
    assert summary == {
        "mean": pytest.approx(statistics.mean(values)), "std": pytest.approx(statistics.stdev(values)), "worst": 0.941
    }  # fmt: skip
    assert spread(summary, 2, 100) == "94.57 ± 0.57"
    assert mean_and_std(values)["worst"] == 0.952


def test_one_seed_has_no_spread() -> None:
    summary = mean_and_std([91.93])
    assert summary["std"] is None
    assert spread(summary, 1) == "91.9"
