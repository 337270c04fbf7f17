"""The measurement of runs in Loihi's integers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from snn4.agent import runner
from snn4.benchmarks import export

TINY = {
    "name": "tiny", "world": [{"environment": "CartPole-v1", "steps": 64}],
    "policy": {"net_arch": [8, 8], "T": 2, "neuron": {"profile": "loihi", "v_threshold": 0.3}},
    "learner": {"algorithm": "PPO", "n_envs": 4, "hyperparameters": {"n_steps": 16, "batch_size": 64, "n_epochs": 1}},
    "evaluation": {"every": 64, "episodes": 2, "test_episodes": 2},
}  # fmt: skip


def test_runs_are_measured_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY))
    runner.begin(*runner.read_config(str(config), [], {}), tmp_path / "runs", quiet=True)
    (run,) = (tmp_path / "runs").iterdir()
    monkeypatch.setattr(export, "EXPORT", tmp_path / "results")
    arguments = [str(run), "--name", "tiny", "--bits", "8", "4", "--episodes", "2"]
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    export.main()
    rows = json.loads((tmp_path / "results" / "tiny.json").read_text())["seeds"]
    assert [(row["seed"], row["bits"], row["environment"]) for row in rows] == [
        (0, 8, "CartPole-v1"),
        (0, 4, "CartPole-v1"),
    ]
    assert rows[0]["float"] == rows[1]["float"]
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["export", "--table"])
    export.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(f"| tiny | 1 | 2 | 8 | {rows[0]['float']['return_mean']:.1f} |")


def test_no_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["export", "--name", "x"])
    with pytest.raises(SystemExit):
        export.main()
    assert "got no runs or no --name" in capsys.readouterr().err


def test_published_results_name_what_there_is() -> None:
    for path in export.EXPORT.glob("*.json"):
        for row in json.loads(path.read_text())["seeds"]:
            assert row["bits"] in (8, 6, 4)
            assert not row["saturated"]
