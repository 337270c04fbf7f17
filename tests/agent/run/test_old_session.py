"""A whole life, and what is done with its run folder afterwards: test it, repair it, watch it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from run_folders import events_in, only, read

from snn4.agent.evaluation.episodes import SUMMARY_KEYS
from snn4.agent.life.config import LifeConfig, load
from snn4.agent.life.life import Life
from snn4.agent.run import old_session as session
from snn4.agent.run.events import Began, Ended, Evaluated, Noted, Saved
from snn4.agent.run.journal import Journal

Cli = Callable[..., Any]
TWO_BEINGS = ["world.0.steps=1024", "ann_twin=true"]


class Told(NamedTuple):
    status: int
    out: str
    err: str
    folder: Path


@pytest.fixture(scope="module")
def life(
    start: Callable[..., subprocess.Popen[str]], tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory
) -> Told:
    """A life with a twin, to its end in a process of its own."""
    runs = tmp_path_factory.mktemp("lived") / "runs"
    process = start("run", tiny_yaml, *TWO_BEINGS, SNN4_RUNS=str(runs))
    out, err = process.communicate(timeout=200)
    return Told(process.returncode, out, err, only(runs))


@pytest.fixture
def finished(life: Told) -> Path:
    """Its folder; not to be changed."""
    return life.folder


@pytest.fixture
def spoilt(finished: Path, tmp_path: Path) -> Path:
    """A copy of it whose newest checkpoint was altered."""
    folder = shutil.copytree(finished, tmp_path / "spoilt")
    newest = max(folder.glob("checkpoints/*"))
    (newest / "model.safetensors").write_bytes(b"altered")
    return folder


# A life to its end


def test_a_life_in_a_pipe_is_told_in_lines(life: Told) -> None:
    assert life.status == 0
    assert "Traceback" not in life.err
    for part in ("tiny is born, seed 0", "organism enters task 0", "ANN twin test at 1,024", "life finished at 2,048",
                 "against the ANN twin's", f"run folder: {life.folder}"):  # fmt: skip
        assert part in life.out
    assert "\x1b" not in life.out
    assert read(life.folder / "run.json")["state"] == "finished"


def test_the_summary_has_exactly_the_documented_keys(finished: Path) -> None:
    summary, run = read(finished / "summary.json"), read(finished / "run.json")
    assert set(summary) == {"tasks", "ann_twin", "seed", "commit_hash", "config"}
    assert (summary["seed"], summary["config"]) == (0, run["config"])
    assert summary["commit_hash"] == run["commit_hash"]
    for half in ("tasks", "ann_twin"):
        (row,) = summary[half].values()
        assert set(summary[half]) == {"CartPole-v1"}
        assert set(row) == set(SUMMARY_KEYS)
        assert (row["env_steps"], row["episodes"]) == (1024, 5)
        assert row["env_steps_per_second"] == pytest.approx(row["env_steps"] / row["wall_seconds"])
        assert {"45nm_fp32", "45nm_int8", "45nm_fp32_memory", "loihi1"} == set(row["energy_joules"])
    (test,) = (e for e in events_in(finished) if isinstance(e, Evaluated) and e.final and e.being == "organism")
    assert {key: summary["tasks"]["CartPole-v1"][key] for key in test.scores["CartPole-v1"] if key in SUMMARY_KEYS} == {
        key: value for key, value in test.scores["CartPole-v1"].items() if key in SUMMARY_KEYS
    }


def test_evaluate_measures_what_the_summary_says(cli: Cli, finished: Path) -> None:
    said = cli("evaluate", finished, "--json")
    assert (said.status, said.err) == (0, "")
    assert json.loads(said.out) == read(finished / "summary.json")
    other = json.loads(cli("evaluate", finished, "--json", "--episodes", "3").out)
    assert other["tasks"]["CartPole-v1"]["episodes"] == other["ann_twin"]["CartPole-v1"]["episodes"] == 3


def test_evaluate_as_a_table(cli: Cli, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    said = cli("evaluate", finished)
    rows = read(finished / "summary.json")
    for half in ("tasks", "ann_twin"):
        assert f"{rows[half]['CartPole-v1']['return_mean']:.1f} ± " in said.out
    assert said.status == 0


def test_a_finished_run_is_not_resumed(cli: Cli, finished: Path) -> None:
    before = (finished / "events.jsonl").read_bytes()
    said = cli("resume", finished)
    assert said.status == 2
    assert said.err == f"{finished}: this life is finished; test it with: snn4-agent evaluate {finished}\n"
    assert (finished / "events.jsonl").read_bytes() == before


# Damaged checkpoints


def test_a_life_with_another_config_is_left_as_it_is(cli: Cli, tiny: Callable[..., LifeConfig], tmp_path: Path) -> None:
    with Journal.create(tmp_path, tiny()) as journal:
        Life(tiny(), journal.folder).save(None)
    config = journal.folder / "config.yaml"
    config.write_text(config.read_text().replace("variation: null", "variation: {noise: 0.1}"))
    before = {path: path.read_bytes() for path in journal.folder.rglob("*") if path.is_file()}
    said = cli("resume", journal.folder)
    assert (said.status, said.out) == (2, "")
    assert "world.0.variation (was None, is 'settings')" in said.err
    assert {path: path.read_bytes() for path in journal.folder.rglob("*") if path.is_file()} == before


def test_a_damaged_checkpoint_is_told(cli: Cli, spoilt: Path) -> None:
    (spoilt / "summary.json").unlink()
    said = cli("resume", spoilt)
    assert said.status == 0
    assert re.search(r"checkpoints/\d+: model.safetensors altered .*; \d+, the one before it, is used", said.out)
    assert any(isinstance(event, Noted) for event in events_in(spoilt))


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_evaluate_tells_of_a_damaged_checkpoint(cli: Cli, spoilt: Path, options: list[str]) -> None:
    assert "model.safetensors altered" in cli("evaluate", spoilt, *options).err


def test_all_checkpoints_damaged(cli: Cli, spoilt: Path) -> None:
    (spoilt / "summary.json").unlink()
    for path in spoilt.glob("checkpoints/*"):
        (path / "manifest.json").write_text("")
    before = {path: path.read_bytes() for path in spoilt.glob("*.json*")}
    for command in ("resume", "evaluate"):
        said = cli(command, spoilt)
        assert said.status == 1
        assert len(said.err.splitlines()) == 1
        assert said.err.startswith("error: ")
        assert "incomplete" in said.err
    assert {path: path.read_bytes() for path in spoilt.glob("*.json*")} == before


# Watching


def test_watch_replays_a_life(cli: Cli, life: Told) -> None:
    said = cli("watch", life.folder)
    assert (said.status, said.err) == (0, "")
    # Without the time, which may be the next second's when a line is shown.
    before, replayed = ([line[8:] for line in out.splitlines()] for out in (life.out, said.out))
    learning = re.compile("steps, (return|no episode)")
    told = [line for line in replayed if not learning.search(line)]
    assert told == [line for line in before if not learning.search(line)][: len(told)]
    assert "life finished" in replayed[-1]


def test_watch_draws_a_picture(cli: Cli, finished: Path, tmp_path: Path) -> None:
    said = cli("watch", finished, "--svg", tmp_path / "picture.svg")
    assert said == (0, "", "")
    svg = (tmp_path / "picture.svg").read_text()
    assert svg.startswith("<svg")
    for part in ("CartPole-v1", "layer&#160;0", "finished", finished.name):
        assert part in svg


def test_a_picture_in_no_folder_is_told_at_once(cli: Cli, finished: Path, tmp_path: Path) -> None:
    said = cli("watch", finished, "--svg", tmp_path / "no" / "picture.svg")
    assert said.status == 2
    assert f"there is no folder {tmp_path / 'no'}" in said.err


def everything(file: int) -> bytes:
    """What comes from the screen's end of a terminal, until the other end is closed."""
    shown = b""
    with contextlib.suppress(OSError):  # Linux tells of the end so
        while block := os.read(file, 65536):
            shown += block
    return shown


def test_watch_in_a_terminal_is_the_dashboard(cli: Cli, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}.items():
        monkeypatch.setenv(name, value)
    ours, theirs = pty.openpty()
    with ThreadPoolExecutor(1) as pool:
        shown = pool.submit(everything, ours)
        with os.fdopen(theirs, "w") as terminal, contextlib.redirect_stdout(terminal):
            assert cli("watch", finished).status == 0
    os.close(ours)
    assert b"\x1b[" in shown.result()
    for part in ("snn4-agent", "spikes a neuron and step", "layer 1", "life finished at 2,048 steps"):
        assert part.encode() in shown.result()


def watching(folder: Path, capsys: pytest.CaptureFixture[str], changes: Callable[[], None]) -> str:
    """What a watcher prints who saw all that was there before ``changes``."""
    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(session.watch, folder)
        time.sleep(1)  # enough to have seen it; to look at capsys while it is written to would lose lines
        changes()
        watcher.result(timeout=60)
    return capsys.readouterr().out


def unfinished(runs: Path, config: LifeConfig) -> Path:
    with Journal.create(runs, config) as journal:
        journal.write(Began("tiny", 0, [], {}, ["organism"]))
        journal.write(Saved("checkpoints/000001", 1))
        for number in range(20):
            journal.write(Noted(f"note {number}"))
    return journal.folder


def test_watch_follows_until_the_end(
    tmp_path: Path, tiny: Callable[..., LifeConfig], capsys: pytest.CaptureFixture[str], cli: Cli
) -> None:
    folder = unfinished(tmp_path, tiny())
    assert "note 19" in cli("watch", folder, "--no-follow").out

    def go_on() -> None:
        with (folder / "events.jsonl").open("a") as file:
            line = json.dumps({"time": "2026-01-01T00:00:00+00:00", **Noted("late").to_json()})
            file.write(line[:20])
            file.flush()
            time.sleep(0.6)  # half a line is no event yet
            file.write(line[20:] + "\n")
            line = json.dumps({"time": "2026-01-01T00:00:00+00:00", **Ended("finished", 7).to_json()})
            file.write(line + "\n")

    with Journal(folder):  # somebody lives here
        shown = watching(folder, capsys, go_on)
    assert [line.split(" ", 1)[1] for line in shown.splitlines()[-2:]] == ["late", "life finished at 7 steps"]


def test_watch_survives_a_resume(
    tmp_path: Path, tiny: Callable[..., LifeConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    """`resume` drops what was written after the last checkpoint, and writes on."""
    folder = unfinished(tmp_path, tiny())

    with Journal(folder) as journal:

        def resume() -> None:
            journal.go_on_after("checkpoints/000001")
            for number in range(40):
                journal.write(Noted(f"a somewhat longer new note {number}"))
            journal.write(Ended("finished", 7))

        shown = watching(folder, capsys, resume)
    assert "new note 39" in shown
    assert shown.splitlines()[-1].endswith("life finished at 7 steps")


def test_watch_does_not_wait_for_the_dead(
    tmp_path: Path, tiny: Callable[..., LifeConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    """A killed process leaves no `Ended`, but lets go of the lock."""
    session.watch(unfinished(tmp_path, tiny()))
    assert "note 19" in capsys.readouterr().out


def test_the_config_in_a_run_folder_is_the_life_s(finished: Path, tiny: Callable[..., LifeConfig]) -> None:
    assert load(finished / "config.yaml") == tiny(*TWO_BEINGS)
