"""Whole lives in processes of their own, and what is done with their run folders afterwards."""

from __future__ import annotations

import itertools
import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from run_folders import events_in, only, read

from snn4.agent import checkpoint, session
from snn4.agent.config import RunConfig, load
from snn4.agent.evaluation import SUMMARY_KEYS, TEST_SEED, VALIDATION_SEED
from snn4.agent.events import Began, Ended, Evaluated, Learned, Noted, Saved
from snn4.agent.journal import Journal, RunBusy

Cli = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]
TWO_BEINGS = ["world.0.steps=2048", "ann_twin=true"]


class Done(NamedTuple):
    status: int
    out: str
    err: str


def done(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=200)
    return Done(process.returncode, out, err)


def untimed(summary: dict[str, Any]) -> Any:
    """The part of a summary that is equal in equal lives."""
    timed = ("wall_seconds", "env_steps_per_second")
    rows = {half: summary[half].items() for half in ("tasks", "ann_twin")}
    return {half: {t: {k: v for k, v in r.items() if k not in timed} for t, r in rows[half]} for half in rows}


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def wait_for_learning(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until ``process`` has begun or gone on with the life in ``folder``, and has learned something, or is done."""
    file = folder / "events.jsonl"
    before = file.stat().st_mtime_ns

    def learning() -> bool:
        events = events_in(folder) if file.stat().st_mtime_ns > before else []
        since_birth = list(itertools.takewhile(lambda event: not isinstance(event, Began), reversed(events)))
        return any(isinstance(event, Learned) for event in since_birth)

    wait_for(lambda: learning() or process.poll() is not None)


# The stories below run beside each other while the tests wait for them: each is mostly the start of processes.


def to_the_end(start: Start, config: Path, runs: Path) -> tuple[Done, Path]:
    said = done(start("run", config, *TWO_BEINGS, SNN4_RUNS=str(runs)))
    return said, only(runs)


def killed(start: Start, config: Path, runs: Path) -> tuple[Done, Path, int]:
    """The same life, killed twice at random moments; how the last process ended, and how many were killed."""
    process, kills = start("run", config, *TWO_BEINGS, "--quiet", "--runs-dir", runs), 0
    wait_for(lambda: any(runs.glob("*/events.jsonl")))
    folder = only(runs)
    while kills < 2:
        wait_for_learning(folder, process)
        delay = random.uniform(0, 0.7)
        time.sleep(delay)
        process.kill()
        said = done(process)
        print(f"kill -9 {delay:.3f} s after it began to learn: {said.status}, {len(events_in(folder))} events")
        if (folder / "summary.json").is_file():  # it was faster: done, if perhaps not yet gone
            return Done(0, said.out, said.err), folder, kills
        kills += 1
        process = start("resume", folder, "--quiet")
    return done(process), folder, kills


def asked_to_stop(start: Start, config: Path, runs: Path) -> tuple[list[Done], list[str], Path]:
    """SIGINT, another process in the same folder, SIGTERM, and on to the end; and the states in between."""
    said, states = [], []
    process = start("run", config, *TWO_BEINGS, "--runs-dir", runs)
    wait_for(lambda: any(isinstance(event, Learned) for folder in runs.glob("*") for event in events_in(folder)))
    folder = only(runs)
    process.send_signal(signal.SIGINT)
    said.append(done(process))
    states.append(read(folder / "run.json")["state"])

    process = start("resume", folder)
    told = len(events_in(folder))
    wait_for(lambda: len(events_in(folder)) > told + 2)
    process.send_signal(signal.SIGSTOP)  # it lives, and will not be done before it is seen to be busy
    states.append(read(folder / "run.json")["state"])
    with pytest.raises(RunBusy, match=f"^{re.escape(str(folder))}: another process lives in this folder"):
        session.resume(folder)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    said.append(done(process))
    states.append(read(folder / "run.json")["state"])

    said.append(done(start("resume", folder)))
    states.append(read(folder / "run.json")["state"])
    return said, states, folder


def not_a_number(start: Start, config: Path, runs: Path) -> tuple[Done, Path]:
    world = ["world.0.environment=strange_worlds:NotANumber-v0", "world.0.kwargs.after=7"]
    said = done(start("run", config, *world, "--runs-dir", runs))
    return said, only(runs)


FILES_UP_TO = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"


def disk_full_for_a_checkpoint(start: Start, config: Path, runs: Path) -> tuple[Done, Path]:
    """A replay buffer grows until the checkpoint no longer fits."""
    learner = "learner={algorithm: DQN, hyperparameters: {train_freq: 64, buffer_size: 2000, learning_starts: 0}}"
    said = done(
        start("run", config, learner, "world.0.steps=1024", "--runs-dir", runs, prepare=FILES_UP_TO.format(50_000))
    )
    return said, only(runs)


def disk_full_for_an_event(start: Start, config: Path, runs: Path) -> tuple[Done, Path]:
    said = done(
        start(
            "run", config, "world.0.steps=20000", "evaluation.every=20000", "--runs-dir", runs,
            prepare=FILES_UP_TO.format(6_000),
        )
    )  # fmt: skip
    return said, only(runs)


STORIES = (killed, asked_to_stop, to_the_end, not_a_number, disk_full_for_a_checkpoint, disk_full_for_an_event)


@pytest.fixture(scope="module")
def stories(
    start: Start, tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Callable[..., Any], Future[Any]]]:
    with ThreadPoolExecutor(2) as pool:
        yield {
            story: pool.submit(story, start, tiny_yaml, tmp_path_factory.mktemp(story.__name__) / "runs")
            for story in STORIES
        }


@pytest.fixture
def finished(stories: dict[Any, Future[Any]]) -> Path:
    """The folder of a life with a twin that was lived to its end; not to be changed."""
    return stories[to_the_end].result()[1]


@pytest.fixture
def spoilt(finished: Path, tmp_path: Path) -> Path:
    """A copy of it whose newest checkpoint was altered."""
    folder = shutil.copytree(finished, tmp_path / "spoilt")
    newest = max(folder.glob("checkpoints/*"))
    (newest / "model.safetensors").write_bytes(b"altered")
    return folder


# A life to its end


def test_a_life_in_a_pipe_is_told_in_lines(stories: dict[Any, Future[Any]]) -> None:
    said, folder = stories[to_the_end].result()
    assert said.status == 0
    assert "Traceback" not in said.err
    for part in ("tiny is born, seed 0", "organism enters task 0", "ANN twin test at 2,048", "life finished at 4,096",
                 "against the ANN twin's", f"run folder: {folder}"):  # fmt: skip
        assert part in said.out
    assert "\x1b" not in said.out
    assert read(folder / "run.json")["state"] == "finished"


def test_the_summary_has_exactly_the_documented_keys(finished: Path) -> None:
    summary, run = read(finished / "summary.json"), read(finished / "run.json")
    assert set(summary) == {"tasks", "ann_twin", "seed", "commit_hash", "config"}
    assert (summary["seed"], summary["config"]) == (0, run["config"])
    assert summary["commit_hash"] == run["commit_hash"]
    for half in ("tasks", "ann_twin"):
        (row,) = summary[half].values()
        assert set(summary[half]) == {"CartPole-v1"}
        assert set(row) == set(SUMMARY_KEYS)
        assert (row["env_steps"], row["episodes"]) == (2048, 5)
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


# kill -9


def test_kill_nine_at_random_times(stories: dict[Any, Future[Any]], finished: Path) -> None:
    said, folder, kills = stories[killed].result()
    assert kills
    assert said == (0, "", "")  # --quiet
    mine, whole = read(folder / "summary.json"), read(finished / "summary.json")
    assert untimed(mine) == untimed(whole)
    assert read(folder / "run.json")["state"] == "finished"
    ended = events_in(folder)[-1]
    assert ended == events_in(finished)[-1] == Ended("finished", 4096)


def test_the_journal_of_a_killed_life_tells_one_story(stories: dict[Any, Future[Any]], finished: Path) -> None:
    _, folder, _ = stories[killed].result()
    learned = [(e.being, e.step) for e in events_in(folder) if isinstance(e, Learned)]
    assert learned == [(e.being, e.step) for e in events_in(finished) if isinstance(e, Learned)]


# SIGINT and SIGTERM


def test_signals(stories: dict[Any, Future[Any]], finished: Path) -> None:
    said, states, folder = stories[asked_to_stop].result()
    interrupted, terminated, end = said
    assert [one.status for one in said] == [130, 143, 0]
    assert states == ["interrupted", "running", "interrupted", "finished"]
    for one in (interrupted, terminated):
        assert one.err.splitlines()[-1] == f"interrupted; go on with: snn4-agent resume {folder}"
        assert "life interrupted at" in one.out
        assert "saved checkpoints/" in one.out.splitlines()[-2]
    assert "tiny goes on" in end.out
    for half in ("tasks", "ann_twin"):
        mine, whole = (read(one / "summary.json")[half]["CartPole-v1"] for one in (folder, finished))
        assert mine["env_steps"] == whole["env_steps"]
    assert not any("Traceback" in one.err for one in said)


@pytest.fixture
def interrupting(monkeypatch: pytest.MonkeyPatch, strange_worlds: None) -> Iterator[list[str]]:
    """Overrides for a world that presses Ctrl-C once, when an episode begins with the seed given."""
    import strange_worlds as module  # type: ignore[import-not-found]

    monkeypatch.setattr(module.Interrupting, "pressed", False)
    yield ["world.0.environment=strange_worlds:Interrupting-v0", "world.0.kwargs.from_seed={}"]
    assert module.Interrupting.pressed


def test_interrupted_while_validating(cli: Cli, tiny_yaml: Path, tmp_path: Path, interrupting: list[str]) -> None:
    environment, seed = interrupting
    run = ["run", tiny_yaml, environment, seed.format(VALIDATION_SEED + 1), "--runs-dir"]
    said = cli(*run, tmp_path / "1")
    folder = only(tmp_path / "1")
    assert said.status == 130
    assert said.err == f"interrupted; go on with: snn4-agent resume {folder}\n"
    assert [type(event) for event in events_in(folder)[-3:]] == [Evaluated, Saved, Ended]
    assert cli("resume", folder).status == 0
    assert cli(*run, tmp_path / "2").status == 0  # it presses but once
    whole = read(only(tmp_path / "2") / "summary.json")
    assert untimed(read(folder / "summary.json")) == untimed(whole)


def test_interrupted_in_the_very_last_test(cli: Cli, tiny_yaml: Path, tmp_path: Path, interrupting: list[str]) -> None:
    environment, seed = interrupting
    said = cli("run", tiny_yaml, environment, seed.format(TEST_SEED), "--runs-dir", tmp_path)
    folder = only(tmp_path)
    resumable = cli("resume", folder).status == 0
    assert resumable == ("resume" in said.err)


# Lives that cannot go on


def test_nan_stops_the_life(stories: dict[Any, Future[Any]]) -> None:
    said, folder = stories[not_a_number].result()
    assert said.status == 1
    assert "Traceback" not in said.err
    told = said.err.splitlines()[-1]
    assert told.startswith("error: organism, task 0 (strange_worlds:NotANumber-v0), step 32: observation holds nan")
    assert read(folder / "run.json")["state"] == "failed"
    ended = events_in(folder)[-1]
    assert isinstance(ended, Ended)
    assert (ended.state, ended.text) == ("failed", told.removeprefix("error: "))


def test_a_full_disk_leaves_the_last_checkpoint(cli: Cli, stories: dict[Any, Future[Any]], tmp_path: Path) -> None:
    said, folder = stories[disk_full_for_a_checkpoint].result()
    assert said.status == 1
    saved = [event for event in events_in(folder) if isinstance(event, Saved)]
    found = checkpoint.load(folder / "checkpoints")
    assert found is not None
    path, *_, problems = found
    assert (f"checkpoints/{path.name}", problems) == (saved[-1].path, [])
    assert 0 < saved[-1].age < 1024
    folder = shutil.copytree(folder, tmp_path / "room was made")
    assert cli("resume", folder).status == 0
    assert read(folder / "summary.json")["tasks"]["CartPole-v1"]["env_steps"] == 1024


def test_a_full_disk_is_told(stories: dict[Any, Future[Any]]) -> None:
    said, folder = stories[disk_full_for_a_checkpoint].result()
    assert said.status == 1
    assert "Traceback" not in said.err
    told = said.err.splitlines()[-1]
    assert told.startswith("error: the disk is full")
    assert told.endswith(f"snn4-agent resume {folder}")


def test_a_disk_too_full_for_the_journal_is_told(stories: dict[Any, Future[Any]]) -> None:
    said, folder = stories[disk_full_for_an_event].result()
    assert said.status == 1
    assert re.search(f"error: the disk is full .* snn4-agent resume {re.escape(str(folder))}", said.err)


def test_a_disk_too_full_for_the_journal_is_told_without_a_traceback(stories: dict[Any, Future[Any]]) -> None:
    said, _ = stories[disk_full_for_an_event].result()
    assert "Traceback" not in said.err


def test_a_damaged_checkpoint_is_told(cli: Cli, spoilt: Path) -> None:
    (spoilt / "summary.json").unlink()
    said = cli("resume", spoilt)
    assert said.status == 0
    assert re.search(r"checkpoints/\d+: model.safetensors altered .*; \d+, the one before it, is used", said.out)
    assert any(isinstance(event, Noted) for event in events_in(spoilt))


def test_evaluate_tells_of_a_damaged_checkpoint(cli: Cli, spoilt: Path) -> None:
    assert "model.safetensors altered" in cli("evaluate", spoilt).err


def test_evaluate_tells_of_a_damaged_checkpoint_beside_json(cli: Cli, spoilt: Path) -> None:
    assert "model.safetensors altered" in cli("evaluate", spoilt, "--json").err


def test_all_checkpoints_damaged(cli: Cli, spoilt: Path) -> None:
    (spoilt / "summary.json").unlink()
    for path in spoilt.glob("checkpoints/*"):
        (path / "manifest.json").write_text("")
    for command in ("resume", "evaluate"):
        said = cli(command, spoilt)
        assert said.status == 1
        assert len(said.err.splitlines()) == 1
        assert said.err.startswith("error: ")
        assert "incomplete" in said.err


# Watching


def test_watch_replays_a_life(cli: Cli, finished: Path, stories: dict[Any, Future[Any]]) -> None:
    said = cli("watch", finished)
    assert (said.status, said.err) == (0, "")
    # Without the time, which may be the next second's when a line is shown.
    lived, replayed = (
        [line[8:] for line in out.splitlines()] for out in (stories[to_the_end].result()[0].out, said.out)
    )
    learning = re.compile("steps, (return|no episode)")
    told = [line for line in replayed if not learning.search(line)]
    assert told == [line for line in lived if not learning.search(line)][: len(told)]
    assert "life finished" in replayed[-1]


def test_watch_draws_a_picture(cli: Cli, finished: Path, tmp_path: Path) -> None:
    said = cli("watch", finished, "--svg", tmp_path / "picture.svg")
    assert said == (0, "", "")
    svg = (tmp_path / "picture.svg").read_text()
    assert svg.startswith("<svg")
    for part in ("CartPole-v1", "layer&#160;0", "finished", finished.name):
        assert part in svg


def test_watch_in_a_terminal_is_the_dashboard(finished: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from snn4.agent.cli import main; main()", "watch", str(finished)],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # Linux: the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    assert b"\x1b[" in shown
    for part in ("snn4-agent", "spikes a neuron and step", "layer 1", "life finished at 4,096 steps"):
        assert part.encode() in shown


def watching(folder: Path, capsys: pytest.CaptureFixture[str], changes: Callable[[], None]) -> str:
    """What a watcher prints who saw all that was there before ``changes``."""
    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(session.watch, folder)
        time.sleep(1)  # enough to have seen it; to look at capsys while it is written to would lose lines
        changes()
        watcher.result(timeout=60)
    return capsys.readouterr().out


def unfinished(runs: Path, config: RunConfig) -> Path:
    with Journal.create(runs, config) as journal:
        journal.write(Began("tiny", 0, [], {}, ["organism"]))
        journal.write(Saved("checkpoints/000001", 1))
        for number in range(20):
            journal.write(Noted(f"note {number}"))
    return journal.folder


def test_watch_follows_until_the_end(
    tmp_path: Path, tiny: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str], cli: Cli
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
    tmp_path: Path, tiny: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
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
    tmp_path: Path, tiny: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    """A killed process leaves no `Ended`, but lets go of the lock."""
    session.watch(unfinished(tmp_path, tiny()))
    assert "note 19" in capsys.readouterr().out


def test_the_config_in_a_run_folder_is_the_life_s(finished: Path, tiny: Callable[..., RunConfig]) -> None:
    assert load(finished / "config.yaml") == tiny(*TWO_BEINGS)
