"""Trainings of several processes: Lightning starts the others by the script that runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import events_in, only
from safetensors.torch import load_file

from snn4.agent.run import checkpoint
from snn4.agent.run.events import Learned

Cli = Callable[..., Any]


def processes(*arguments: str | Path) -> subprocess.Popen[str]:
    script = Path(sys.executable).with_name("snn4-agent")
    if not script.is_file():
        pytest.skip("snn4-agent is not installed beside this Python")
    known = {name: value for name, value in os.environ.items() if name not in ("SNN4_RUNS", "LOCAL_RANK")}
    return subprocess.Popen(
        [script, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**known, "COLUMNS": "200", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip


TWO = ["fabric.devices=2", "fabric.strategy=ddp", "training.batch_size=16", "data.augmentation=none",
       "training.mixup=0", "training.optimizer=sgd", "network.options={channels: [4, 8], norm: none}"]  # fmt: skip


def test_two_processes_learn_what_one_does(cli: Cli, digits_yaml: Path, tmp_path: Path) -> None:
    """Without norms, which see their own half of a batch, gradients of halves add up to that of the whole."""
    process = processes("train", digits_yaml, *TWO, "--runs-dir", tmp_path / "two")
    one = [change for change in TWO if "fabric" not in change and "batch_size" not in change]
    assert cli("train", digits_yaml, *one, "--runs-dir", tmp_path / "one", "-q").status == 0
    out, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, "")
    assert out.count("SNN validation at 320: ") == 1  # one of them tells
    folders = [only(tmp_path / name) for name in ("one", "two")]
    fits = [[e for e in events_in(folder) if isinstance(e, Learned)] for folder in folders]
    assert {event.steps for both in fits for event in both} == {320}
    assert fits[0][-1].losses["loss"] == pytest.approx(fits[1][-1].losses["loss"], rel=1e-3)
    for name, tolerance in {"ann_twin": 1e-5, "model": 1e-2}.items():  # rounding may flip a spike
        weights = [load_file(folder / f"{name}.safetensors") for folder in folders]
        for key, value in weights[0].items():
            assert (value - weights[1][key]).abs().max() < tolerance, key


@pytest.mark.slow
def test_two_processes_share_the_projection_of_their_lessons(cli: Cli, digits_yaml: Path, tmp_path: Path) -> None:
    """It is no part of the network, whose gradients are averaged by themselves."""
    lessons = ["teacher={source: zoo:digits, features: 1.0}"]
    process = processes("train", digits_yaml, *TWO, *lessons, "--runs-dir", tmp_path / "two", "-q")
    one = [change for change in TWO if "fabric" not in change and "batch_size" not in change]
    assert cli("train", digits_yaml, *one, *lessons, "--runs-dir", tmp_path / "one", "-q").status == 0
    assert process.communicate(timeout=200) == ("", "")
    projections = []
    for name in ("one", "two"):
        folder = only(tmp_path / name) / checkpoint.CHECKPOINTS
        shutil.rmtree(folder / "000004")  # the end; before it, the twin was still learning
        saved = checkpoint.load(folder)
        assert saved is not None
        projections.append(saved.state["learner"]["learner"]["lessons"])
    assert projections[0].keys() == {"project.weight", "project.bias"}
    for key, value in projections[0].items():
        assert (value - projections[1][key]).abs().max() < 1e-5, key


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["first", "all"])
def test_two_processes_are_stopped_and_resumed_together(digits_yaml: Path, tmp_path: Path, whom: str) -> None:
    few = [*TWO[:4], "ann_twin=false", "training.epochs=20", "training.batch_size=8"]
    whole = processes("train", digits_yaml, *few, "--runs-dir", tmp_path / "whole", "-q")
    process = processes("train", digits_yaml, *few, "--runs-dir", tmp_path / "broken", "-q")
    while not any('"evaluated"' in path.read_text() for path in (tmp_path / "broken").glob("*/events.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    others = [int(pid) for pid in children.read_text().split()] if whom == "all" and children.is_file() else []
    for pid in (*others, process.pid):
        os.kill(pid, signal.SIGINT)
    _, err = process.communicate(timeout=200)
    folder = only(tmp_path / "broken")
    assert (process.returncode, err) == (130, f"interrupted; continue with: snn4-agent resume {folder}\n")
    assert processes("resume", folder, "-q").communicate(timeout=200) == ("", "")
    assert whole.communicate(timeout=200) == ("", "")
    assert (folder / "model.safetensors").read_bytes() == (only(tmp_path / "whole") / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_bad_input_is_told_once_by_two_processes(digits_yaml: Path, tmp_path: Path) -> None:
    process = processes("train", digits_yaml, *TWO, "training.batch_size=500", "--runs-dir", tmp_path / "runs")
    out, err = process.communicate(timeout=200)
    assert (process.returncode, out, len(err.splitlines())) == (2, "", 1)
    assert "on each of 2 devices" in err
    assert not (tmp_path / "runs").exists()
