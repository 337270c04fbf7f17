"""Tables and figures of control from rows of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snn4.benchmarks.suites import control, efficiency
from snn4.benchmarks.suites.efficiency import learned, profile, sample_efficiency, scales


def row(environment: str, snn: float, ann: float, **more: Any) -> dict[str, Any]:
    def test(mean: float) -> dict[str, Any]:
        return {environment: {"return_mean": mean, "returns": [mean - 1, mean + 1]}}

    validations = {
        "organism": [[100, snn - 100], [200, snn], [300, snn]],
        "ann_twin": [[100, ann - 100], [250, ann], [300, ann]],
    }
    return {"tasks": test(snn), "ann_twin": test(ann), "int8_twin": test(ann - 5), "validations": validations, **more}


CARTPOLE = {"config": "cartpole", "seeds": [row("CartPole-v1", snn, 400.0) for snn in (490.0, 500.0, 495.0)]}
HOPPER = {"config": "hopper", "seeds": [row("Hopper-v5", snn, 1000.0) for snn in (1200.0, 1300.0, 800.0)]}
BREAKOUT = {"config": "breakout", "seeds": [row("MinAtar/Breakout-v1", snn, 10.0) for snn in (5.0, 10.0, 20.0)]}


def test_old_results_have_one_return_per_seed_and_no_curve() -> None:
    old = {"config": "x", "seeds": [{"tasks": {"CartPole-v1": {"return_mean": 499.0}}, "ann_twin": {}}]}
    (one,) = learned([old])
    assert (one.returns.tolist(), one.steps) == ([[[499.0]]], [])
    assert sample_efficiency(one, scales([one])["CartPole-v1"]) == {"area": None, "steps": None}


def test_lives_with_several_tasks_are_left_out() -> None:
    two = {"config": "x", "seeds": [{"tasks": {"a": {}, "b": {}}, "ann_twin": {}}]}
    assert list(learned([two])) == []


def test_curves_are_read_at_the_same_steps() -> None:
    seeds = [row("CartPole-v1", 500.0, 400.0), row("CartPole-v1", 500.0, 400.0)]
    seeds[1]["validations"]["organism"] = [[50, 400.0], [150, 450.0], [250, 500.0]]
    one = next(learned([{"config": "x", "seeds": seeds}]))
    assert one.steps == [100, 200]  # the second life ended at 250
    np.testing.assert_allclose(one.curve, [[400.0, 500.0], [425.0, 475.0]])


def test_the_mark_is_the_reference_or_else_the_twin() -> None:
    known = scales(list(learned([CARTPOLE, BREAKOUT])))
    assert known["CartPole-v1"][1] == 500.0
    assert known["MinAtar/Breakout-v1"][1] == pytest.approx(10.0)


def test_steps_to_the_threshold_are_those_of_the_interquartile_mean() -> None:
    every = list(learned([CARTPOLE]))
    found = sample_efficiency(every[0], scales(every)["CartPole-v1"])
    assert found["steps"] == 200
    assert 0.8 < found["area"] < 1.0


def test_profiles_count_runs_of_all_environments() -> None:
    every = list(learned([CARTPOLE, HOPPER, BREAKOUT]))
    found = profile(every, "organism")
    assert found is not None
    assert (found["environments"], found["seeds"]) == (["CartPole-v1", "Hopper-v5", "MinAtar/Breakout-v1"], 3)
    assert found["profile"]["value"][0] == 1.0
    assert found["iqm"]["low"] <= found["iqm"]["value"] <= found["iqm"]["high"]
    fewer = list(learned([CARTPOLE, {**HOPPER, "seeds": HOPPER["seeds"][:2]}]))
    assert profile(fewer, "organism")["environments"] == ["CartPole-v1"]  # type: ignore[index]
    assert profile([], "organism") is None


def test_the_table_has_all_beings_side_by_side() -> None:
    lines = efficiency.table([CARTPOLE, BREAKOUT]).splitlines()
    assert lines[2].startswith("| CartPole-v1 | SNN | 3 | 495.0 [")
    assert lines[3].startswith("| CartPole-v1 | ANN twin | 3 | 400.0 [")
    assert lines[4].startswith("| CartPole-v1 | int8 twin | 3 | 395.0 [395.0, 395.0] | - | - |")
    assert any(line.startswith("| SNN | 2 | 3 | ") for line in lines)


def test_figures_are_drawn_for_each_environment(tmp_path: Path) -> None:
    paths = control.figures([CARTPOLE, BREAKOUT], tmp_path)
    assert [path.name for path in paths] == ["CartPole-v1.svg", "MinAtar-Breakout-v1.svg", "performance-profile.svg"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert all("</svg>" in path.read_text() for path in paths)
