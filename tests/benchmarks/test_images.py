from __future__ import annotations

import json
from pathlib import Path

import pytest

from snn4.benchmarks import images
from snn4.benchmarks.publishing import publish

QUICK = ["training.epochs=1", "training.T=[[1,2]]", "network.T=2", "network.options.channels=[4,8]", "data.limit=200"]


def test_a_changed_training_is_published_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "IMAGES", tmp_path / "results")
    line = ["images", "digits", "name=other", *QUICK, "--seeds", "3", "--runs-dir", str(tmp_path / "runs")]
    monkeypatch.setattr("sys.argv", line)
    images.main()
    (path,) = (tmp_path / "results").iterdir()
    (row,) = json.loads(path.read_text())["seeds"]
    assert (path.name, row["seed"]) == ("other.json", 3)


def test_trainings_are_done_once_and_the_table_shows_their_mean(tmp_path: Path) -> None:
    *rows, again = (images.train_once("digits", [*QUICK, f"seed={seed}"], tmp_path / "runs") for seed in (0, 1, 1))
    assert rows[1] == again
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert [row["seed"] for row in rows] == [0, 1]
    assert set(rows[0]["training_seconds"]) == {"network", "ann_twin"}
    path = tmp_path / "digits.json"
    publish(path, "images", "digits", rows, images.summary(rows))
    result = json.loads(path.read_text())
    top1 = [row["indicators"][0]["top1_accuracy"] for row in rows]
    assert result["summary"]["SNN fp32"]["top1_accuracy"]["mean"] == pytest.approx(sum(top1) / 2)
    for key in ("top1_accuracy", "top5_accuracy"):
        worst = min(row["indicators"][0][key] for row in rows)
        assert result["summary"]["SNN fp32"][key]["worst"] == worst
    assert f"| {50 * sum(top1):.2f} ± " in images.table([result])
    assert {"command", "commit_hash", "versions", "machine"} <= set(result)


def test_a_mean_leaves_out_energies_that_an_earlier_run_does_not_have() -> None:
    keys = ("top1_accuracy", "top5_accuracy", "spikes_per_decision", "effective_acs", "effective_macs")
    old = {"name": "SNN", "precision": "int8", **dict.fromkeys(keys, 1.0), "energy_joules": {"45nm_int8": 1.0}}
    new = {**old, "energy_joules": {"45nm_int8_memory": 2.0, "45nm_int8": 3.0}}
    rows = [{"top1_accuracy_by_step": [1.0], "indicators": [row]} for row in (new, old)]
    joules = images.summary(rows)["SNN int8"]["energy_joules"]
    assert {model: value["mean"] for model, value in joules.items()} == {"45nm_int8": 2.0}


def test_folds_are_runs_of_their_own() -> None:
    assert images._variants([0, 1], None) == [["seed=0"], ["seed=1"]]
    assert images._variants([5], 2) == [
        ["seed=5", "data.folds=2", "data.fold=0"],
        ["seed=5", "data.folds=2", "data.fold=1"],
    ]
