from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snn4.benchmarks.suites import evolution
from snn4.benchmarks.suites.evolution import MODELS
from snn4.benchmarks.suites.suite import Cell


def row(shipped: float, single: float, evolved: float, single_return: float = 500.0) -> dict[str, Any]:
    def test(operations: float, mean: float = 500.0) -> dict[str, Any]:
        return {"synaptic_operations": operations, "return_mean": mean, "energy_joules": dict.fromkeys(MODELS, 2e-9)}

    return {
        "seed": 0,
        "hand_set": {"T=4": test(shipped), "T=1": test(single, single_return)},
        "evolved": test(evolved),
        "random": test(2 * evolved),
        "ann_energy_joules": dict.fromkeys(MODELS, 8e-9),
        "hypervolume": {"evolved": [1.0, 3.0], "random": [2.0, 2.5]},
    }


def test_savings_are_those_of_each_seed() -> None:
    found = evolution.summary([row(1000, 400, 100), row(1000, 200, 200)])
    assert found["saved"]["shipped"]["mean"] == pytest.approx((0.9 + 0.8) / 2)
    assert found["saved"]["best hand-set"]["mean"] == pytest.approx((0.75 + 0.0) / 2)
    assert found["saved"]["random"]["mean"] == pytest.approx(0.5)
    assert found["hypervolume above random"] == 2
    assert found["energy of the ANN's"]["45nm_fp32_memory"]["mean"] == pytest.approx(0.25)


def test_hand_set_steps_that_lose_more_than_a_percent_are_no_comparison() -> None:
    found = evolution.summary([row(1000, 400, 100, single_return=490.0)])
    assert found["best hand-set"]["synaptic_operations"]["mean"] == 1000


def test_the_table_names_every_policy() -> None:
    result = {"config": "cartpole", "seeds": [row(1000, 400, 100)], "summary": evolution.summary([row(1000, 400, 100)])}
    line = evolution.table([result]).splitlines()[-1]
    for cell in ("cartpole", "500.0 at 1000", "500.0 at 400", "500.0 at 100", "90 / 75", "500.0 at 200"):
        assert cell in line
    assert "above random in 1 of 1" in line


def test_hypervolumes_grow_with_the_generations_and_share_a_reference() -> None:
    def tested(generation: int, mean: float, operations: float) -> dict[str, float]:
        return {"generation": generation, "return": mean, "synaptic_operations": operations}

    volumes = evolution._volumes(
        {
            "evolved": [tested(0, 100, 1000), tested(1, 200, 100), tested(1, 50, 1)],
            "random": [tested(0, 100, 1000), tested(1, 0, 10_000)],
        }
    )
    assert volumes["evolved"] == pytest.approx([100 * 1, 200 * 2 + 50 * 2])  # from a return of 0 at 10,000
    assert volumes["random"] == pytest.approx([100, 100])


@pytest.mark.slow
def test_a_life_is_compared_with_itself_evolved(tiny: Path, bench: Callable[..., Any]) -> None:
    evolving = ["evolving:world.0.steps=2000", "evolving:evolution={every: 256, population: 2, trial: 64, episodes: 4}"]
    output = bench("evolution", tiny, *evolving, "--seeds", "1", "--json")
    assert output.status == 0, output.err
    (published,) = json.loads(output.out)
    (found,) = published["seeds"]
    assert list(found["hand_set"]) == ["T=4", "T=1", "T=2"]
    assert found["trials"]["evolved"] > 0
    assert "tiny" in evolution.table([published])


def test_changes_of_evolving_lives_are_theirs_alone() -> None:
    cell = Cell("cartpole", ("policy.T=2", "evolving:world.0.steps=9"), seed=3)
    assert evolution.split(cell) == (["policy.T=2", "seed=3"], ["world.0.steps=9"])
