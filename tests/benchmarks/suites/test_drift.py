from __future__ import annotations

from typing import Any

import pytest

from snn4.agent.run.events import Evaluated
from snn4.benchmarks.suites import drift


def validated(age: int, task: str, mean: float, operations: float, **more: Any) -> Evaluated:
    score = {"return_mean": mean, "effective_acs": operations, "effective_macs": 0.0}
    return Evaluated("organism", task, age, {"an earlier task": {**score, "return_mean": -1.0}, task: score}, **more)


def test_means_are_those_of_the_present_task_over_time() -> None:
    events = [
        validated(100, "a", 0.0, 1000.0),
        validated(200, "a", 100.0, 1000.0),
        validated(400, "b", 100.0, 500.0),
        validated(400, "b", 7.0, 7.0, part="test"),
    ]
    found = drift.life(events)
    assert (found["return_mean"], found["synaptic_operations"], found["age"]) == ((50 + 2 * 100) / 3, 2500 / 3, 400)
    assert (found["tested_return_mean"], found["tested_synaptic_operations"]) == (
        3.0,
        7.0,
    )  # with -1 of the earlier task


def test_differences_are_those_of_each_seed() -> None:
    def row(evolving: float, awake: float) -> dict[str, Any]:
        lives = {"evolving": (evolving, 10.0), "awake": (awake, 90.0)}
        return {
            name: {
                f"{prefix}{key}": value
                for prefix in ("", "tested_")
                for key, value in zip(drift.MEASURES, found, strict=True)
            }
            for name, found in lives.items()
        }

    found = drift.summary([row(480, 400), row(460, 390), row(470, 380)])
    assert found["return_mean"]["difference"]["mean"] == pytest.approx(80)
    assert found["return_mean"]["difference"]["interval95"] == pytest.approx(4.303 * 10 / 3**0.5, rel=1e-3)
    line = drift.table([{"config": "drifting", "seeds": [1, 2, 3], "summary": found}]).splitlines()[-2]
    assert (
        line == "| drifting | 3 | over the whole life | 470.0 ± 24.8 | 390.0 ± 24.8 | 80.0 ± 24.8 | 10 ± 0 | 90 ± 0 |"
    )
