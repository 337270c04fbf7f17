"""Trainings whose twins are converted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snn4.benchmarks.suites import conversion, distillation

SMALL = ("data.limit=200", "training.epochs=1", "network.T=1", "network.options.channels=[4,8]", "threads=1")


def test_a_training_is_converted_in_each_variant(bench: Callable[..., Any]) -> None:
    variants = ("--vary", "convert.T=1,2", "convert.images=50")
    output = bench("conversion", "digits", *SMALL, *variants, "--seeds", "1", "--json")
    assert output.status == 0, output.err
    ((result,),) = (json.loads(output.out),)
    assert len(list(Path("runs/benchmarks").glob("digits-*"))) == 1
    assert [(row["method"], row["neuron"], row["T"], row["images"]) for row in result["seeds"]] == [
        ("calibrate", "signed_if", 1, 50),
        ("calibrate", "signed_if", 2, 50),
    ]
    for row in result["seeds"]:
        assert len(row["top1_accuracy_by_step"]) == row["T"]
        assert 0 <= row["ann_int8_top1_accuracy"] <= 1
    ann = 100 * result["seeds"][0]["ann_top1_accuracy"]
    assert conversion.table([result]).splitlines()[-1].startswith(f"| digits | {ann:.2f} | calibrate | signed_if | ")


def test_unknown_keys_of_a_conversion(bench: Callable[..., Any], tmp_path: Path) -> None:
    output = bench("conversion", "digits", "--vary", "convert.t=1,2")
    assert output.status == 2
    assert "convert: t: unknown key" in output.err
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_is_compared_with_none(bench: Callable[..., Any], tmp_path: Path) -> None:
    output = bench("distillation", "digits", *SMALL, "--seeds", "1", "--json")
    assert output.status == 0, output.err
    ((result,),) = (json.loads(output.out),)
    (row,) = result["seeds"]
    assert set(row["taught"]) == {"SNN", "ANN twin", "int8 twin"}
    assert row["gain"] == row["taught"]["SNN"] - row["alone"]["SNN"]
    lines = distillation.table([result]).splitlines()
    assert lines[-2].startswith("| digits | 1 | with a teacher | ")
    assert f"| {100 * row['gain']:.2f} |" in lines[-2]
    assert bench("distillation", "mnist").err.endswith("mnist: teacher: got none; name one with teacher.source=…\n")


def test_scores_of_lives_are_returns() -> None:
    tasks = {"a": {"return_mean": 1.0}, "b": {"return_mean": 3.0}}
    assert distillation.scores({"tasks": tasks, "ann_twin": {}}) == {"SNN": 2.0}
