from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from snn4.agent.config.file import CONFIGS
from snn4.benchmarks import evolution
from snn4.benchmarks.evolution import MODELS


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
def test_a_life_is_compared_with_itself_evolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = yaml.safe_load((CONFIGS / "cartpole.yaml").read_text())
    config["world"][0]["steps"] = 512
    config["evaluation"] = {"every": 256, "episodes": 2, "test_episodes": 3}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(evolution, "EVOLUTION", tmp_path / "results")
    arguments = [str(tmp_path / "tiny.yaml"), "--seeds", "3", "--steps", "2000", "--runs-dir", str(tmp_path / "runs")]
    arguments += ["--evolution", "{every: 256, population: 2, trial: 64, episodes: 4}"]
    monkeypatch.setattr(sys, "argv", ["evolution", *arguments])
    evolution.main()
    published = json.loads((tmp_path / "results" / "cartpole.json").read_text())
    (found,) = published["seeds"]
    assert list(found["hand_set"]) == ["T=4", "T=1", "T=2"]
    assert found["trials"]["evolved"] > 0
    assert "cartpole" in evolution.table([published])
