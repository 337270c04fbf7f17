"""The commands train, resume and watch: run folders, signals, several processes, and what a user sees."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from run_folders import events_in, only, read
from safetensors.torch import load_file

from snn4.agent.life.config import TrainingConfig, load_training
from snn4.agent.run.events import Began, Ended, Fitted, Saved, Validated
from snn4.agent.run.journal import Journal

Cli = Callable[..., Any]
LONG = ["training.epochs=100000", "ann_twin=false"]
"""A training that does not end before it is interrupted."""


# A training to its end


def test_the_run_folder(trained: Path, digits: Callable[..., TrainingConfig]) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names == {
        ".lock", "ann_twin.safetensors", "checkpoints", "config.yaml", "events.jsonl", "model.safetensors",
        "report.html", "run.json", "summary.json", "tensorboard",
    }  # fmt: skip
    assert load_training(trained / "config.yaml") == digits()
    run = read(trained / "run.json")
    assert (run["state"], run["data"], run["seed"]) == ("finished", "digits", 0)
    assert events_in(trained)[-1] == Ended("finished", 640)
    assert list((trained / "tensorboard").iterdir())


def test_the_summary(trained: Path) -> None:
    summary, run = read(trained / "summary.json"), read(trained / "run.json")
    assert (summary["seed"], summary["config"], summary["commit_hash"]) == (0, run["config"], run["commit_hash"])
    assert [row["name"] + row["precision"] for row in summary["indicators"]] == [
        "SNNfp32", "SNNint8", "ANNfp32", "ANNint8",
    ]  # fmt: skip
    assert all(row["top1_accuracy"] is not None for row in summary["indicators"])
    best = {e.being: e for e in events_in(trained) if isinstance(e, Validated) and e.best}
    assert summary["selected"] == {
        name: {"epoch": event.epoch, "top1_validation": event.top1} for name, event in best.items()
    }


def test_the_report_shows_how_it_learned(trained: Path) -> None:
    page = (trained / "report.html").read_text()
    for text in ("tiny-digits: digits", "network: training loss", "ann_twin: validation top-1, %", "Confusion"):
        assert text in page


def test_a_report_before_the_end_shows_how_it_learns(cli: Cli, trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    said = cli("report", folder)
    assert (said.status, said.err.endswith(f"snn4-agent evaluate {folder} --report FILE\n")) == (2, True)
    for name in ("summary.json", "report.html"):
        (folder / name).unlink()
    said = cli("report", folder)
    assert (said.status, said.out) == (0, f"report: {folder}/report.html\n")
    page = (folder / "report.html").read_text()
    assert ("network: validation loss" in page, "Confusion" in page) == (True, False)  # the test is for the end
    (folder / "events.jsonl").write_text("")
    assert cli("report", folder, tmp_path / "early.html").status == 0
    assert "No epoch is finished yet." in (tmp_path / "early.html").read_text()


def test_a_training_is_told_in_lines(cli: Cli, digits_yaml: Path, tmp_path: Path) -> None:
    said = cli("train", digits_yaml, "training.epochs=1", "--backend", "snntorch", "--runs-dir", tmp_path)
    folder = only(tmp_path)
    assert (said.status, "Traceback" in said.err) == (0, False)
    for part in ("tiny-digits, seed 0, learns digits", "network epoch 1: validation", "ANN twin epoch 1",
                 "training finished after 320 images", "top-1 %", "early exit",
                 f"report: {folder}/report.html", f"run folder: {folder}"):  # fmt: skip
        assert part in said.out
    assert read(folder / "run.json")["config"]["network"]["backend"] == "snntorch"


# What is wrong shows before there is a folder


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epocs=1", "training.epocs: unknown key; did you mean epochs?"),
        ("training.batch_size=500", "training.batch_size: got 500"),
        ("network.options={channels: [4, 4, 4, 4, 4]}", "allowed are sides >= 32"),
        ("data={name: mnist, root: /nowhere, download: false}", "/nowhere"),
        ("data={name: imagefolder, folder: /nowhere}", "/nowhere"),
        ("fabric.accelerator=cuda", "torch sees no GPU"),
        ("fabric.accelerator=mps", "fabric: "),
    ],
)
def test_bad_input(cli: Cli, digits_yaml: Path, tmp_path: Path, override: str, said: str) -> None:
    if "cuda" in override and __import__("torch").cuda.is_available():
        pytest.skip("there is a GPU")
    told = cli("train", digits_yaml, override, "--runs-dir", tmp_path / "runs")
    assert (told.status, told.out, len(told.err.splitlines())) == (2, "", 1)
    assert said in told.err
    assert not (tmp_path / "runs").exists()


def test_a_life_is_no_training(cli: Cli, tiny_yaml: Path, digits_yaml: Path, tmp_path: Path) -> None:
    assert "snn4-agent run" in cli("train", tiny_yaml, "--runs-dir", tmp_path).err
    assert "snn4-agent train" in cli("run", digits_yaml, "--runs-dir", tmp_path).err


def test_a_loss_that_is_not_finite(cli: Cli, digits_yaml: Path, tmp_path: Path) -> None:
    rate = ["training.learning_rate=1e38", "training.optimizer=sgd", "training.warmup=0", "ann_twin=false"]
    said = cli("train", digits_yaml, *rate, "--runs-dir", tmp_path)
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert said.err.startswith("error: network: epoch 0, batch ")
    folder = only(tmp_path)
    assert read(folder / "run.json")["state"] == "failed"
    ended = events_in(folder)[-1]
    assert isinstance(ended, Ended)
    assert f"error: {ended.text}\n" == said.err
    assert not (folder / "model.safetensors").exists()


# Signals


@contextmanager
def pressing(runs: Path, number: int, times: int = 1) -> Iterator[None]:
    """Sends this process a signal once the training in ``runs`` has validated."""

    def press() -> None:
        while not any('"validated"' in path.read_text() for path in runs.glob("*/events.jsonl")):
            time.sleep(0.01)
        for _ in range(times):
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    yield
    thread.join(10)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_a_checkpoint(
    cli: Cli, digits_yaml: Path, tmp_path: Path, number: int, status: int
) -> None:
    with pressing(tmp_path, number):
        said = cli("train", digits_yaml, *LONG, "--runs-dir", tmp_path)
    folder = only(tmp_path)
    assert said.status == status
    assert said.err == f"interrupted; go on with: snn4-agent resume {folder}\n"
    *_, saved, ended = events_in(folder)
    assert isinstance(saved, Saved)
    assert ended == Ended("interrupted", saved.age)
    assert read(folder / "run.json")["state"] == "interrupted"
    assert (folder / "model.safetensors").is_file()  # the best so far can be tested
    assert not (folder / "summary.json").exists()


def test_resume_goes_on(cli: Cli, trained: Path, tmp_path: Path) -> None:
    """A run folder as kill -9 leaves it: the last line is half there, the last checkpoint not yet told of."""
    folder = shutil.copytree(trained, tmp_path / "run")
    for name in ("summary.json", "report.html", "model.safetensors", "ann_twin.safetensors"):
        (folder / name).unlink()
    shutil.rmtree(max((folder / "checkpoints").iterdir()))
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    (folder / "events.jsonl").write_text("".join(lines[:-2]) + lines[-2][:30])
    (folder / "run.json").write_text(json.dumps(read(folder / "run.json") | {"commit_hash": "begun"}))
    said = cli("resume", folder)
    assert (said.status, said.err) == (0, "")
    assert "goes on after 480 images" in said.out
    for name in ("model.safetensors", "ann_twin.safetensors"):
        assert (folder / name).read_bytes() == (trained / name).read_bytes()
    mine, whole = read(folder / "summary.json"), read(trained / "summary.json")
    assert mine["top1_accuracy_by_step"] == whole["top1_accuracy_by_step"]
    assert mine["selected"] == whole["selected"]
    assert mine["commit_hash"] == "begun"
    curves = [event for event in events_in(folder) if isinstance(event, Validated)]
    assert curves == [event for event in events_in(trained) if isinstance(event, Validated)]
    assert sum(isinstance(event, Began) for event in events_in(folder)) == 2
    assert read(folder / "run.json")["state"] == "finished"


def test_a_finished_training_is_not_resumed(cli: Cli, trained: Path) -> None:
    said = cli("resume", trained)
    assert said.status == 2
    assert said.err == f"{trained}: this training is finished; test it with: snn4-agent evaluate {trained}\n"


def test_a_training_that_is_busy(cli: Cli, trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    (folder / "summary.json").unlink()
    with Journal(folder):
        assert "another process lives in this folder" in cli("resume", folder).err


# Watching


def test_watch_replays_a_training(cli: Cli, trained: Path) -> None:
    said = cli("watch", trained)
    assert (said.status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].endswith("tiny-digits, seed 0, learns digits")
    assert lines[-1].endswith("training finished after 640 images")
    assert sum("validation" in line for line in lines) == 4


def test_a_training_has_no_dashboard_to_draw(cli: Cli, trained: Path, tmp_path: Path) -> None:
    said = cli("watch", trained, "--svg", tmp_path / "x.svg")
    assert (said.status, "--svg means nothing" in said.err) == (2, True)


# Several processes: Lightning starts the others by the script that runs


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
    assert out.count("network epoch 2: validation") == 1  # one of them tells
    folders = [only(tmp_path / name) for name in ("one", "two")]
    fits = [[e for e in events_in(folder) if isinstance(e, Fitted)] for folder in folders]
    assert {event.total for both in fits for event in both} == {320}
    assert fits[0][-1].loss == pytest.approx(fits[1][-1].loss, rel=1e-3)
    for name, tolerance in {"ann_twin": 1e-5, "model": 1e-2}.items():  # rounding may flip a spike
        weights = [load_file(folder / f"{name}.safetensors") for folder in folders]
        for key, value in weights[0].items():
            assert (value - weights[1][key]).abs().max() < tolerance, key


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["first", "all"])
def test_two_processes_are_stopped_and_resumed_together(digits_yaml: Path, tmp_path: Path, whom: str) -> None:
    few = [*TWO[:4], "ann_twin=false", "training.epochs=20", "training.batch_size=8"]
    whole = processes("train", digits_yaml, *few, "--runs-dir", tmp_path / "whole", "-q")
    process = processes("train", digits_yaml, *few, "--runs-dir", tmp_path / "broken", "-q")
    while not any('"validated"' in path.read_text() for path in (tmp_path / "broken").glob("*/events.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    others = [int(pid) for pid in children.read_text().split()] if whom == "all" and children.is_file() else []
    for pid in (*others, process.pid):
        os.kill(pid, signal.SIGINT)
    _, err = process.communicate(timeout=200)
    folder = only(tmp_path / "broken")
    assert (process.returncode, err) == (130, f"interrupted; go on with: snn4-agent resume {folder}\n")
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
