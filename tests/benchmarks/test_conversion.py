from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from snn4.benchmarks import conversion
from snn4.learners.conversion.conversion import METHODS, NEURONS
from snn4.policies.networks.architectures import make_architecture


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(conversion, "CONVERSION", tmp_path / "conversion")
    return tmp_path / "conversion"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["conversion", *arguments])
    conversion.main()


def test_each_cell_is_measured_once(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    torch.save(make_architecture("resnet-20-a", 10, 1).state_dict(), tmp_path / "net.pt")
    arguments = [str(tmp_path / "net.pt"), "--architecture", "resnet-20-a", "--data", "digits", "--images", "20"]
    arguments += ["--neurons", "signed_if", "--methods", "threshold-balance"]
    run(monkeypatch, *arguments, "--steps", "1")
    rows = json.loads((results / "resnet-20-a.json").read_text())["seeds"]
    assert [(row["method"], row.get("T")) for row in rows] == [("ann", None), ("threshold-balance", 1)]
    for row in rows[1:]:
        assert len(row["top1_accuracy_by_step"]) == row["T"]
        assert row["top1_accuracy"] == row["top1_accuracy_by_step"][-1]
        assert row["test_samples"] == rows[0]["test_samples"]
        assert row["spikes_per_decision"] > 0
    capsys.readouterr()
    run(monkeypatch, *arguments, "--steps", "1")
    assert capsys.readouterr().out == ""
    run(monkeypatch, "--table")
    table = capsys.readouterr().out
    assert "| T=1 |" in table
    assert f"{100 * rows[1]['top1_accuracy']:.2f}" in table


def test_no_model(results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "--steps", "2")
    assert "model: got none, allowed is a file of weights, a run folder, or zoo:NAME" in capsys.readouterr().err
    assert not results.exists()


def test_published_results_name_what_there_is() -> None:
    for path in conversion.CONVERSION.glob("resnet*.json"):
        for row in json.loads(path.read_text())["seeds"]:
            converted_by, _, learned = row["method"].partition(", ")
            assert converted_by in {"ann", "spikingjelly", *METHODS}
            assert learned in {"", "training", "tandem", "taught", "taught, tandem"}
            assert row["method"] == "ann" or row["neuron"] in NEURONS
            assert 0 < row["top1_accuracy"] <= 1
