"""The measurement of runs in Loihi's integers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from snn4.benchmarks.suites import export

TINY = {
    "name": "tiny", "world": [{"environment": "CartPole-v1", "steps": 64}],
    "policy": {"net_arch": [8, 8], "T": 2, "neuron": {"profile": "loihi", "v_threshold": 0.3}},
    "learner": {"algorithm": "PPO", "n_envs": 4, "hyperparameters": {"n_steps": 16, "batch_size": 64, "n_epochs": 1}},
    "evaluation": {"every": 64, "episodes": 2, "test_episodes": 2},
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def test_runs_are_measured_and_shown(config: Path, bench: Callable[..., Any]) -> None:
    neuron = "policy.neuron={profile: loihi, v_threshold: 0.3}"
    output = bench("export", config, neuron, "--vary", "bits=8,4", "--seeds", "1", "--json")
    assert output.status == 0, output.err
    ((result,),) = (json.loads(output.out),)
    rows = result["seeds"]
    assert [(row["seed"], row["bits"], row["environment"]) for row in rows] == [
        (0, 8, "CartPole-v1"),
        (0, 4, "CartPole-v1"),
    ]
    assert rows[0]["float"] == rows[1]["float"]
    lines = export.table([result]).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(f"| tiny | 1 | 2 | 8 | {rows[0]['float']['return_mean']:.1f} |")


@pytest.mark.parametrize("bits", ["1", "x", "9"])
def test_bits_that_no_chip_has(bits: str, config: Path, bench: Callable[..., Any]) -> None:
    output = bench("export", config, "--vary", f"bits={bits}")
    assert (output.status, output.err) == (2, f"--vary: bits: got '{bits}', allowed is a whole number from 2 to 8\n")


def test_published_results_name_what_there_is() -> None:
    for path in export.EXPORT.glob("*.json"):
        for row in json.loads(path.read_text())["seeds"]:
            assert row["bits"] in (8, 6, 4)
            assert not row["saturated"]
