from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snn4.benchmarks.publishing import publish
from snn4.benchmarks.suites import classification
from snn4.benchmarks.suites.suite import Order, planned

QUICK = ["training.epochs=1", "training.T=[[1,2]]", "network.T=2", "network.options.channels=[4,8]", "data.limit=200"]


def test_trainings_are_done_once_and_the_table_shows_their_mean(tmp_path: Path) -> None:
    *rows, again = (
        classification.train_once("digits", [*QUICK, f"seed={seed}"], tmp_path / "runs") for seed in (0, 1, 1)
    )
    assert rows[1] == again
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert [row["seed"] for row in rows] == [0, 1]
    assert set(rows[0]["training_seconds"]) == {"network", "ann_twin"}
    path = tmp_path / "digits.json"
    publish(path, "images", "digits", rows, classification.summary(rows))
    result = json.loads(path.read_text())
    top1 = [row["indicators"][0]["top1_accuracy"] for row in rows]
    assert result["summary"]["SNN fp32"]["top1_accuracy"]["mean"] == pytest.approx(sum(top1) / 2)
    for key in ("top1_accuracy", "top5_accuracy"):
        worst = min(row["indicators"][0][key] for row in rows)
        assert result["summary"]["SNN fp32"][key]["worst"] == worst
    assert f"| {50 * sum(top1):.2f} ± " in classification.table([result])
    assert {"command", "commit_hash", "versions", "machine"} <= set(result)


def test_a_mean_leaves_out_energies_that_an_earlier_run_does_not_have() -> None:
    keys = ("top1_accuracy", "top5_accuracy", "spikes_per_decision", "effective_acs", "effective_macs")
    old = {"name": "SNN", "precision": "int8", **dict.fromkeys(keys, 1.0), "energy_joules": {"45nm_int8": 1.0}}
    new = {**old, "energy_joules": {"45nm_int8_memory": 2.0, "45nm_int8": 3.0}}
    rows = [{"top1_accuracy_by_step": [1.0], "indicators": [row]} for row in (new, old)]
    joules = classification.summary(rows)["SNN int8"]["energy_joules"]
    assert {model: value["mean"] for model, value in joules.items()} == {"45nm_int8": 2.0}


def test_folds_are_cells_of_one_result(tmp_path: Path) -> None:
    order = Order(["digits"], ["data.folds=2"], ["data.fold=0,1"], seeds=1, runs=tmp_path)
    cells = planned(classification, order).cells
    assert [cell.overrides for cell in cells] == [
        ["data.folds=2", "data.fold=0", "seed=0"],
        ["data.folds=2", "data.fold=1", "seed=0"],
    ]
    assert set(cells.values()) == {"digits"}


@pytest.mark.parametrize(
    ("config", "module", "message"),
    [
        ("cifar10", None, "cifar10: data: "),
        ("nmnist", "tonic", "nmnist: data: tonic reads events: pip install 'snn4-agent[events]'"),
    ],
)
def test_missing_data_and_packages_are_named_before_anything_runs(
    config: str, module: str | None, message: str, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("SNN4_DATA", str(tmp_path / "nothing"))
    if module is not None:
        monkeypatch.setitem(sys.modules, module, None)
    output = bench("classification", "digits", config, "data.download=false")
    assert output.status == 2
    assert output.err.startswith(message)
    assert module or "download: false" in output.err
    assert list(tmp_path.iterdir()) == []
