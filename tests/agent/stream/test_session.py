"""The commands run, resume, watch, evaluate and report with a stream: run folders, signals, and what a user sees."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_folders import events_in, only, read

from snn4.agent.evaluation.matrix import retained
from snn4.agent.life.config import ContinualConfig, load_continual
from snn4.agent.run.events import Ended, Event, Recalled, Studied, from_json
from snn4.agent.run.journal import Journal
from snn4.agent.show.stream_dashboard import StreamDashboard
from snn4.agent.show.stream_tables import describe, measure_rows

Cli = Callable[..., Any]


def matrices(folder: Path) -> dict[str, list[list[float]]]:
    return {name: read(folder / "summary.json")[name]["matrix"] for name in ("network", "ann_twin")}


# A stream to its end


def test_the_run_folder(lived: Path, streamed: Callable[..., ContinualConfig]) -> None:
    assert {path.name for path in lived.iterdir()} == {
        ".lock", "ann_twin.safetensors", "checkpoints", "config.yaml", "events.jsonl", "learned", "model.safetensors",
        "report.html", "run.json", "summary.json", "tensorboard",
    }  # fmt: skip
    assert load_continual(lived / "config.yaml") == streamed()
    run = read(lived / "run.json")
    assert (run["state"], run["data"], run["strategy"], run["seed"]) == ("finished", "digits", "replay", 0)
    assert run["versions"]["avalanche-lib"]
    assert list((lived / "tensorboard").iterdir())


def test_a_stream_is_told_in_lines(cli: Cli, stream_yaml: Path, tmp_path: Path) -> None:
    said = cli("run", stream_yaml, "strategy.name=naive", "--backend", "snntorch", "--runs-dir", tmp_path)
    folder = only(tmp_path)
    assert (said.status, said.err) == (0, "")
    for part in ("tiny-stream begins, seed 0: 3 experiences", "SNN recalls after 0: not yet learned: ",
                 "SNN meets experience 1 (0, 1): ", "ANN twin recalls after 3: ", "saved checkpoints/000006",
                 "average accuracy ", " against the ANN twin's ", "stream finished after ", "forgetting, %",
                 f"report: {folder}/report.html", f"run folder: {folder}"):  # fmt: skip
        assert part in said.out, part
    assert read(folder / "run.json")["config"]["network"]["backend"] == "snntorch"


@pytest.mark.parametrize(
    ("override", "said"),
    [("strategy.nam=ewc", "strategy.nam: unknown key; did you mean name?"),
     ("stream.classes=[[0, 1], [1, 2], [3, 4]]", "class 1 twice"),
     ("stream.experiences=20", "experiences: got 20"),
     ("stream.data.bit_depth=true", "stream.data.bit_depth: got True, allowed is a number"),
     ("stream.classes=[[0, 1], 2]", "stream.classes.1: got 2, allowed is a list"),
     ("device=nosuch", "device: got 'nosuch', which torch cannot use here"),
     ("strategy.name=task-gates", "needs task labels, on a stream without"),
     ("strategy={name: icarl, memory: 2}", "strategy: memory: got 2 samples"),
     ("network.options={channels: [4, 4, 4, 4, 4]}", "allowed are sides >= 32"),
     ("stream.data={name: mnist, root: /nowhere, download: false}", "/nowhere")],
)  # fmt: skip
def test_bad_input(cli: Cli, stream_yaml: Path, tmp_path: Path, override: str, said: str) -> None:
    told = cli("run", stream_yaml, override, "--runs-dir", tmp_path / "runs")
    assert (told.status, told.out, len(told.err.splitlines())) == (2, "", 1)
    assert said in told.err
    assert not (tmp_path / "runs").exists()


def test_a_stream_is_no_training(cli: Cli, stream_yaml: Path, tmp_path: Path) -> None:
    assert "snn4-agent run" in cli("train", stream_yaml, "--runs-dir", tmp_path).err


def test_a_loss_that_is_not_finite(cli: Cli, stream_yaml: Path, tmp_path: Path) -> None:
    rate = ["training.learning_rate=1e38", "training.optimizer=sgd"]
    said = cli("run", stream_yaml, *rate, "--runs-dir", tmp_path, "-q")
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert said.err.startswith("error: network: experience 0")
    folder = only(tmp_path)
    assert read(folder / "run.json")["state"] == "failed"
    assert isinstance(events_in(folder)[-1], Ended)


# Signals, kill -9


@contextmanager
def pressing(runs: Path, number: int, told: str) -> Iterator[None]:
    """Sends this process a signal once the journal in ``runs`` has told of ``told``."""

    def press() -> None:
        while not any(told in path.read_text() for path in runs.glob("*/events.jsonl")):
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    yield
    thread.join(10)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_and_resume(cli: Cli, stream_yaml: Path, tmp_path: Path, number: int, status: int) -> None:
    """It ends inside the experience that would take for ever."""
    with pressing(tmp_path, number, '"studied"'):
        said = cli("run", stream_yaml, "training.epochs=100000", "--runs-dir", tmp_path, "-q")
    folder = only(tmp_path)
    assert (said.status, said.err) == (status, f"interrupted; go on with: snn4-agent resume {folder}\n")
    assert events_in(folder)[-1] == Ended("interrupted", 0)
    assert read(folder / "run.json")["state"] == "interrupted"
    assert not (folder / "summary.json").exists()


@pytest.mark.parametrize("lost", [["000006"], ["000005", "000006"]])
def test_resume_gives_the_same_matrix(cli: Cli, lived: Path, tmp_path: Path, lost: list[str]) -> None:
    """A run folder as kill -9 leaves it: the last line is half there, the last checkpoint not yet told of."""
    folder = shutil.copytree(lived, tmp_path / "run")
    for name in ("summary.json", "report.html", "ann_twin.safetensors"):
        (folder / name).unlink()
    for checkpoint in lost:
        shutil.rmtree(folder / "checkpoints" / checkpoint)
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    (folder / "events.jsonl").write_text("".join(lines[:-6]) + lines[-6][:30])
    (folder / "run.json").write_text(json.dumps(read(folder / "run.json") | {"commit_hash": "begun"}))
    said = cli("resume", folder)
    assert (said.status, said.err) == (0, "")
    assert read(folder / "summary.json")["commit_hash"] == "begun"
    assert matrices(folder) == matrices(lived)
    last = {(e.being, e.learned): e for e in events_in(folder) if isinstance(e, Recalled)}
    assert list(last.values()) == [event for event in events_in(lived) if isinstance(event, Recalled)]
    assert (folder / "ann_twin.safetensors").read_bytes() == (lived / "ann_twin.safetensors").read_bytes()
    assert read(folder / "run.json")["state"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("told", ['"experience": 1', '"being": "ann_twin", "experience": 2'])
def test_kill_9_and_resume(start: Callable[..., Any], cli: Cli, stream_yaml: Path, tmp_path: Path, told: str) -> None:
    """Real kills of a real process, inside an experience; epochs are many, so that it is not over yet."""
    longer = [stream_yaml, "training.epochs=40", "-q"]
    process = start("run", *longer, "--runs-dir", tmp_path / "killed")
    while not any(told in path.read_text() for path in (tmp_path / "killed").glob("*/events.jsonl")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    folder = only(tmp_path / "killed")
    assert not (folder / "summary.json").exists()
    assert start("resume", folder, "-q").communicate(timeout=200) == ("", "")
    assert cli("run", *longer, "--runs-dir", tmp_path / "whole").status == 0
    assert matrices(folder) == matrices(only(tmp_path / "whole"))


def test_a_finished_stream_is_not_resumed(cli: Cli, lived: Path) -> None:
    said = cli("resume", lived)
    assert (said.status, "this stream is finished" in said.err) == (2, True)


def test_a_stream_that_is_busy(cli: Cli, lived: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(lived, tmp_path / "run")
    (folder / "summary.json").unlink()
    with Journal(folder):
        assert "another process lives in this folder" in cli("resume", folder).err


# Watching, testing, reporting


def test_watch_replays_a_stream(cli: Cli, lived: Path, tmp_path: Path) -> None:
    said = cli("watch", lived)
    assert (said.status, said.err) == (0, "")
    assert sum("recalls after" in line for line in said.out.splitlines()) == 8
    assert cli("watch", lived, "--svg", tmp_path / "x.svg").status == 0
    assert "average" in (tmp_path / "x.svg").read_text()


def test_evaluate_finds_what_was_measured(cli: Cli, lived: Path, tmp_path: Path) -> None:
    said = cli("evaluate", lived, "--json", "--report", tmp_path / "r.html")
    assert (said.status, said.err) == (0, "")
    found, whole = json.loads(said.out), read(lived / "summary.json")
    assert found == whole
    assert "accuracy matrix" in (tmp_path / "r.html").read_text().lower()
    assert "--steps means nothing" in cli("evaluate", lived, "--steps", 2).err
    assert "there is no folder" in cli("evaluate", lived, "--report", tmp_path / "no" / "r.html").err
    assert f"{tmp_path}: is a folder" in cli("evaluate", lived, "--report", tmp_path).err
    assert "no run folder" in cli("report", tmp_path / "no").err


def test_evaluate_before_the_end(cli: Cli, stream_yaml: Path, tmp_path: Path) -> None:
    with pressing(tmp_path, signal.SIGINT, '"saved"'):
        cli("run", stream_yaml, "--runs-dir", tmp_path, "-q")
    folder = only(tmp_path)
    said = cli("evaluate", folder, "--json")
    before = [event for event in events_in(folder) if isinstance(event, Recalled)]
    assert json.loads(said.out)["network"]["matrix"] == [event.accuracies for event in before][: before[-1].learned + 1]


def test_report_at_any_time(cli: Cli, lived: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(lived, tmp_path / "run")
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    for n in (1, 4, len(lines)):
        (folder / "events.jsonl").write_text("".join(lines[:n]))
        assert cli("report", folder, tmp_path / "r.html").status == 0
        assert ("<svg" in (tmp_path / "r.html").read_text()) == (n > 1)
    page = (lived / "report.html").read_text()
    for text in ("SNN: accuracy, %", "ANN twin: accuracy, %", "forgetting", "1: 0, 1", "spikes a decision"):
        assert text in page


def test_only_streams_have_such_a_report(cli: Cli, trained: Path) -> None:
    assert "snn4-agent evaluate" in cli("report", trained).err


# The picture


def picture(events: list[Event], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, height=60, force_terminal=False)
    board = StreamDashboard(console, live=False)
    for event in events:
        board.show(event)
    console.print(board.render())
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [70, 100, 160])
def test_the_picture_shows_both_matrices(lived: Path, width: int) -> None:
    shown, summary = picture(events_in(lived), width), read(lived / "summary.json")
    for name in ("network", "ann_twin"):
        for learned, row in enumerate(summary[name]["matrix"]):
            assert f"{learned} " + "".join(f"{100 * value:>3.0f} " for value in row).rstrip() in shown
        assert f"{100 * summary[name]['average_accuracy']:.2f}" in shown
    assert "finished" in shown
    assert max(map(len, shown.splitlines())) <= width


def test_the_picture_grows(lived: Path) -> None:
    events = events_in(lived)
    assert "accuracy on each experience" not in picture(events[:1])
    for n, event in enumerate(events, start=1):
        shown = picture(events[:n])
        if isinstance(event, Studied):
            assert f"{event.images:,}/{event.total:,}" in shown


def test_a_matrix_in_colours() -> None:
    """What is learned stands on its colour, what is not yet stands on none."""
    console = Console(width=100, height=60, force_terminal=True, color_system="truecolor")
    board = StreamDashboard(console, live=False)
    for learned, row in enumerate([[0.5, 0.0], [1.0, 0.5], [0.0, 1.0]]):
        board.show(Recalled("network", learned, row))
    parts = list(console.render(board.render()))
    grounds = [part.style.bgcolor.triplet for part in parts if part.style and part.style.bgcolor]
    assert grounds == [(253, 231, 37), (68, 1, 84), (253, 231, 37)]


def test_rows_of_a_resumed_stream_replace_those_before() -> None:
    """A dashboard that was shown a row, and again after a resume, keeps one."""
    first, again = Recalled("network", 0, [0.1]), Recalled("network", 0, [0.2])
    shown = picture([first, Recalled("network", 1, [0.9]), again])
    assert " 20" in shown
    assert " 90" not in shown.split("events")[0]


def test_every_event_is_told_and_read_again(lived: Path) -> None:
    for event in events_in(lived):
        assert from_json(json.loads(json.dumps(event.to_json()))) == event
        assert (describe(event) is None) == isinstance(event, Studied)


def test_measures_in_rows(lived: Path) -> None:
    rows = [event for event in events_in(lived) if isinstance(event, Recalled) and event.being == "network"]
    header, *body = measure_rows({"network": retained(rows)})
    assert header == ["", "SNN"]
    table = dict(body)
    assert table["average accuracy, %"] == f"{100 * retained(rows)['average_accuracy']:.2f}"
    assert measure_rows({"network": retained(rows[:1])})[1] == ["average accuracy, %", "-"]
