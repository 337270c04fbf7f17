from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snn4.benchmarks.suites import distillation

QUICK = ("training.epochs=1", "training.T=null", "network.T=1", "network.options.channels=[4,8]", "data.limit=200",
         "ann_twin=false")  # fmt: skip


def row(seed: int, taught: float, alone: float, **task: str) -> dict[str, Any]:
    return {"seed": seed, **(task or {"data": "digits"}), "taught": {"SNN": taught}, "alone": {"SNN": alone},
            "gain": taught - alone}  # fmt: skip


def test_gains_are_paired() -> None:
    found = distillation.summary([row(0, 0.9, 0.8), row(1, 0.7, 0.6), row(2, 0.8, 0.7)])
    assert found["gain"]["mean"] == pytest.approx(0.1)
    assert found["gain"]["interval95"] == pytest.approx(0, abs=1e-9)
    assert found["taught"]["SNN"]["interval95"] > 0.1


def test_accuracies_are_in_percent_and_returns_are_not() -> None:
    def cells(*rows: dict[str, Any]) -> list[str]:
        table = distillation.table([{"config": "x", "seeds": rows, "summary": distillation.summary([*rows])}])
        return table.splitlines()[-2].split(" | ")

    assert cells(row(0, 0.9, 0.8))[3:] == ["90.00", "-", "-", "10.00 |"]
    assert cells(row(0, 90.0, 80.0, environment="CartPole-v1"))[3:] == ["90.00", "-", "-", "10.00 |"]


def test_a_pupil_is_compared_with_itself_without_its_teacher(bench: Callable[..., Any]) -> None:
    output = bench("distillation", "digits", *QUICK, "--seeds", "1", "--json")
    assert output.status == 0, output.err
    (published,) = json.loads(output.out)
    (found,) = published["seeds"]
    assert found["data"] == "digits"
    assert found["gain"] == found["taught"]["SNN"] - found["alone"]["SNN"]
    assert "with a teacher" in distillation.table([published])


def test_a_run_without_a_teacher_is_refused(bench: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    output = bench("distillation", tiny, "--seeds", "1")
    assert output.status == 2
    assert "teacher: got none; name one with teacher.source=" in output.err
    assert not (tmp_path / "runs").exists()
