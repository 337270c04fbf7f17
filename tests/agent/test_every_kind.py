"""What every kind of run can do: begin, be killed and go on, be watched, tested and reported, and refuse bad input."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from run_folders import events_in, only, read, untimed

from snn4.agent import command_configs, kinds, runner
from snn4.agent.run import checkpoint
from snn4.agent.run.events import Ended, Evaluated, Noted, Saved
from snn4.agent.run.journal import CONFIG, Journal

sys.path.insert(0, str(Path(__file__).parent))
import toy_kind  # type: ignore[import-not-found]
from kind_cases import CASES, Case  # type: ignore[import-not-found]
from processes import Command, wait_for_learning  # type: ignore[import-not-found]

Cli = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def with_the_toy() -> Iterator[None]:
    before = kinds.named
    toy_kind.install()
    yield
    kinds.named = before


@pytest.fixture(scope="module")
def toy_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toys") / "toy.yaml"
    path.write_text("name: toy\nkind: toy\n")
    return path


@dataclass(frozen=True)
class Run:
    """A small run of a case: what to type, and a folder in which it came to its end (not to be changed)."""

    case: Case
    command: list[str | Path]
    folder: Path
    out: str

    def copy(self, place: Path) -> Path:
        """Of the folder, as if its end had not been summed up."""
        folder = shutil.copytree(self.folder, place)
        for name in ("summary.json", "report.html"):
            (folder / name).unlink()
        return folder


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.kind)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    case, runs = request.param, tmp_path_factory.mktemp("runs")
    path, out = request.getfixturevalue(case.config), io.StringIO()
    kind, config = command_configs.read_config(str(path), case.changes, {"backend": None})
    assert kind.name == case.kind
    with contextlib.redirect_stdout(out):
        runner.begin(kind, config, runs)
    return Run(case, [path, *case.changes], only(runs), out.getvalue())


def summary_of(folder: Path) -> Any:
    return untimed(read(folder / "summary.json"))


# To its end


def test_the_run_folder(run: Run) -> None:
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {
        ".lock", "checkpoints", "config.yaml", "events.jsonl", "report.html", "run.json", "summary.json", "tensorboard"
    }  # fmt: skip
    kind, config = kinds.load(run.folder / CONFIG)
    assert (kind.name, config) == (run.case.kind, kinds.load(run.command[0], run.case.changes)[1])
    about, summary = read(run.folder / "run.json"), read(run.folder / "summary.json")
    assert (about["state"], about["seed"], about["end"] > about["start"]) == ("finished", 0, True)
    assert summary["config"] == about["config"]
    assert {key: summary[key] for key in ("seed", "commit_hash")} == {
        key: about[key] for key in ("seed", "commit_hash")
    }
    assert list((run.folder / "tensorboard").iterdir())


def test_it_is_told_in_lines(run: Run) -> None:
    lines = run.out.splitlines()
    assert "\x1b" not in run.out
    assert re.match(r"\d\d:\d\d:\d\d \S+ begins, seed 0: ", lines[0])
    for part in (run.case.end, f"report: {run.folder / 'report.html'}", f"run folder: {run.folder}"):
        assert part in run.out
    assert sum("saved checkpoints/" in line for line in lines) == sum(
        isinstance(e, Saved) for e in events_in(run.folder)
    )


def test_quiet_prints_nothing(cli: Cli, run: Run, tmp_path: Path) -> None:
    if run.case.kind in ("life", "toy"):  # quick ones
        assert cli("run", *run.command[:1], "--quiet", "--runs-dir", tmp_path) == (0, "", "")


# kill -9, signals


def story_of(folder: Path) -> list[Any]:
    """Tests and checkpoints of a run, each once."""
    events = [event for event in events_in(folder) if isinstance(event, (Evaluated, Saved))]
    return [(event.age, event.path) if isinstance(event, Saved) else event for event in events]


def test_kill_nine_at_any_time(run: Run, tmp_path: Path) -> None:
    """Twice; a kill may come between a checkpoint and the line that tells of it."""
    runs = tmp_path / "runs"
    command = Command(tmp_path, "run", *run.command, "--quiet", "--runs-dir", runs)
    for delay in (0.05, 0.15):
        folder = wait_for_learning(runs, command)
        time.sleep(delay)
        command.process.kill()
        command.done()
        if (folder / "summary.json").is_file():  # it was faster
            break
        command = Command(tmp_path, "resume", folder, "--quiet")
    status = command.done()
    assert status[0] in (0, -signal.SIGKILL)
    assert status[1:] == ("", "")
    assert summary_of(folder) == summary_of(run.folder)
    assert story_of(folder) == story_of(run.folder)
    assert isinstance(events_in(folder)[-1], Ended)


def test_signals(run: Run, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    command = Command(tmp_path, "run", *run.command, run.case.endless, "--runs-dir", runs)
    folder = wait_for_learning(runs, command)
    for number in (signal.SIGINT, signal.SIGTERM):
        command.send(number)
        status, out, err = command.done()
        assert (status, err) == (128 + number, f"interrupted; continue with: snn4-agent resume {folder}\n")
        assert "run interrupted at" in out.splitlines()[-1]
        assert read(folder / "run.json")["state"] == "interrupted"
        assert not (folder / "summary.json").exists()
        if number == signal.SIGINT:
            command = Command(tmp_path, "resume", folder)
            wait_for_learning(runs, command)


def test_a_busy_folder(cli: Cli, run: Run, tmp_path: Path) -> None:
    folder = run.copy(tmp_path / "run")
    with Journal(folder):
        result = cli("resume", folder)
    assert (result.status, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert result.err.startswith(f"{folder}: another process works in this folder")
    assert f"snn4-agent watch {folder}" in result.err


# Going on


def test_a_finished_run_is_not_resumed(cli: Cli, run: Run) -> None:
    before = (run.folder / "events.jsonl").read_bytes()
    result = cli("resume", run.folder)
    assert result.status == 2
    assert result.err == f"{run.folder}: this run is finished; test it with: snn4-agent evaluate {run.folder}\n"
    assert (run.folder / "events.jsonl").read_bytes() == before


def test_resume_after_the_one_before_the_last(cli: Cli, run: Run, tmp_path: Path) -> None:
    """A folder as kill -9 and a damaged disk leave it: half a line, a damaged checkpoint; and other code goes on."""
    folder = run.copy(tmp_path / "run")
    newest = max((folder / "checkpoints").iterdir())
    (newest / "model.safetensors").write_bytes(b"altered")
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    (folder / "events.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    (folder / "run.json").write_text(json.dumps(read(folder / "run.json") | {"commit_hash": "begun"}))
    result = cli("resume", folder)
    assert (result.status, result.err) == (0, "")
    assert re.search(r"checkpoints/\d+: model.safetensors altered .*; \d+, the one before it, is used", result.out)
    assert any(isinstance(event, Noted) for event in events_in(folder))
    assert summary_of(folder) == summary_of(run.folder)
    assert read(folder / "summary.json")["commit_hash"] == "begun"


def test_all_checkpoints_damaged(cli: Cli, run: Run, tmp_path: Path) -> None:
    folder = run.copy(tmp_path / "run")
    for path in folder.glob("checkpoints/*"):
        (path / "manifest.json").write_text("")
    before = {path: path.read_bytes() for path in folder.glob("*.json*")}
    result = cli("resume", folder)
    assert (result.status, len(result.err.splitlines())) == (1, 1)
    assert result.err.startswith("error: ")
    assert "incomplete" in result.err
    assert {path: path.read_bytes() for path in folder.glob("*.json*")} == before


def test_a_run_without_a_checkpoint_begins_again(cli: Cli, run: Run, tmp_path: Path) -> None:
    folder = run.copy(tmp_path / "run")
    shutil.rmtree(folder / "checkpoints")
    if run.case.kind not in ("training", "transformation"):  # whose model is a file
        assert cli("evaluate", folder).status == 2
    assert cli("resume", folder).status == 0
    assert summary_of(folder) == summary_of(run.folder)


def test_another_config_is_left_as_it_is(cli: Cli, run: Run, tmp_path: Path) -> None:
    folder = run.copy(tmp_path / "run")
    config = folder / CONFIG
    config.write_text(config.read_text().replace("\nseed: 0", "\nseed: 1"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = cli("resume", folder)
    assert (result.status, result.out) == (2, "")
    assert "seed (was 0, is 1)" in result.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# Watching, testing, reporting


def test_watch(cli: Cli, run: Run, tmp_path: Path) -> None:
    result = cli("watch", run.folder)
    assert (result.status, result.err) == (0, "")
    # Without the time, which may be the next second's when a line is shown, and without what is told now and then.
    before, replayed = ([line[9:] for line in out.splitlines()] for out in (run.out, result.out))
    always = [line for line in replayed if line in before]
    assert sum("saved checkpoints/" in line for line in always) == sum("saved checkpoints/" in line for line in before)
    assert replayed[-1].startswith(run.case.end)
    assert cli("watch", run.folder, "--svg", tmp_path / "picture.svg") == (0, "", "")
    svg = (tmp_path / "picture.svg").read_text()
    assert svg.startswith("<svg")
    assert "finished" in svg
    result = cli("watch", run.folder, "--svg", tmp_path / "no" / "picture.svg")
    assert (result.status, f"there is no folder {tmp_path / 'no'}" in result.err) == (2, True)


def test_evaluate(cli: Cli, run: Run, tmp_path: Path) -> None:
    result = cli("evaluate", run.folder, "--json", "--report", tmp_path / "r.html")
    assert (result.status, result.err) == (0, "")
    whole, tested = summary_of(run.folder), untimed(json.loads(result.out))
    whole.pop("selected", None)
    assert tested == whole if run.case.tested else tested["config"] == whole["config"]
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert len(cli("evaluate", run.folder).out.splitlines()) >= 1
    result = cli("evaluate", run.folder, run.case.meaningless, "3")
    assert (result.status, f"{run.case.meaningless}: not allowed for a {run.case.kind}" in result.err) == (2, True)
    assert f"{tmp_path}: is a folder" in cli("evaluate", run.folder, "--report", tmp_path).err


def test_report_at_any_time(cli: Cli, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the folder alone: nothing is built for it, nothing of the data is read."""
    monkeypatch.setattr("torch.nn.Module.__init__", lambda *_: pytest.fail("a network was built"))
    monkeypatch.setattr("gymnasium.make", lambda *_, **__: pytest.fail("an environment was made"))
    page = (run.folder / "report.html").read_text()
    assert all(part in page for part in run.case.page), [part for part in run.case.page if part not in page]
    assert cli("report", run.folder, tmp_path / "again.html").status == 0
    assert (tmp_path / "again.html").read_text() == page
    folder = run.copy(tmp_path / "run")
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    for n in (0, 1, len(lines) // 2, len(lines)):
        (folder / "events.jsonl").write_text("".join(lines[:n]))
        result = cli("report", folder)
        assert (result.status, result.out) == (0, f"report: {folder / 'report.html'}\n")


def test_world(cli: Cli, run: Run) -> None:
    for place in (run.command[0], run.folder):
        result = cli("world", place)
        assert (result.status, result.err) == (0, "")
        assert result.out


# Bad input


def test_bad_input_leaves_nothing(cli: Cli, run: Run, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for override, message in run.case.wrong.items():
        result = cli("run", *run.command, override, "--runs-dir", runs)
        assert (result.status, result.out, len(result.err.splitlines())) == (2, "", 1), result.err
        assert message in result.err
        assert not runs.exists()
    (tmp_path / "a file").write_text("")
    result = cli("run", *run.command, "--runs-dir", tmp_path / "a file")
    assert (result.status, "cannot make a folder here" in result.err) == (2, True)


def test_a_full_disk(cli: Cli, run: Run, tmp_path: Path) -> None:
    """The last checkpoint stays; when room was made, the run goes on."""
    sizes = {
        "life": 40_000,
        "training": 30_000,
        "stream": 12_000,
        "transformation": 12_000,
        "evolution": 12_000,
        "toy": 30_000,
    }
    command = Command(
        tmp_path,
        "run",
        *run.command,
        run.case.endless,
        "--runs-dir",
        tmp_path / "runs",
        largest_file=sizes[run.case.kind],
    )
    status, _, err = command.done()
    folder = only(tmp_path / "runs")
    message = err.splitlines()[-1]
    assert (status, "Traceback" in err) == (1, False)
    assert message.startswith("error: the disk is full")
    assert message.endswith(f"snn4-agent resume {folder}")
    saved = [event for event in events_in(folder) if isinstance(event, Saved)]
    newest = checkpoint.newest(folder)
    assert (newest is None) == (not saved)
    assert newest is None or (newest.place, newest.notes) == (saved[-1].path, [])
    assert not list(folder.glob("checkpoints/.*")), "nothing half written"


# What only one kind has


def test_no_kind_of_that_name(cli: Cli, written: Callable[[str], Path]) -> None:
    result = cli("run", written("name: x\nkind: dream\n"))
    assert result.status == 2
    assert result.err.endswith("kind: got 'dream', allowed are life, training, stream, transformation, evolution\n")


def test_train_is_run(cli: Cli, digits_yaml: Path, tmp_path: Path) -> None:
    result = cli("train", digits_yaml, "training.epochs=1", "--backend", "snntorch", "--runs-dir", tmp_path)
    assert result.status == 0
    assert read(only(tmp_path) / "run.json")["config"]["network"]["backend"] == "snntorch"
