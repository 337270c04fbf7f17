"""Lives that are killed, asked to stop, or cannot go on, and what is left of them in their run folders."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from run_folders import events_in, only, read

from snn4.agent.evaluation.episodes import TEST_SEED, VALIDATION_SEED
from snn4.agent.life.config import LifeConfig
from snn4.agent.run import checkpoint
from snn4.agent.run import old_session as session
from snn4.agent.run.events import Began, Ended, Evaluated, Learned, Saved
from snn4.agent.run.journal import Journal, RunBusy

Cli = Callable[..., Any]
TWO_BEINGS = ["world.0.steps=1024", "ann_twin=true"]

# To import everything takes much longer than these lives: one process does so, and those that live are forked from it.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["pytest", "snn4.agent.run.old_session", "torch._dynamo", "torch.utils.tensorboard"])
COMMAND = """
import os, resource, sys
from snn4.agent.cli import main
for stream, path in ((1, out), (2, err)):
    os.dup2(os.open(path, os.O_WRONLY), stream)
os.environ["COLUMNS"] = "200"
if largest_file:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
sys.argv = ["snn4-agent", *arguments]
main()
"""


class Done(NamedTuple):
    status: int | None
    out: str
    err: str


class Command:
    """``snn4-agent`` with these arguments, in a process of its own, which can write no file of more than so many bytes.

    What it says goes to files in ``folder``.
    """

    def __init__(self, folder: Path, *arguments: str | Path, largest_file: int | None = None) -> None:
        self.out, self.err = (folder / f"{len(list(folder.iterdir()))} {stream}" for stream in ("out", "err"))
        for path in (self.out, self.err):
            path.touch()
        known: dict[str, Any] = {"arguments": [str(argument) for argument in arguments], "largest_file": largest_file}
        known |= {"out": str(self.out), "err": str(self.err)}
        self.process = FORKED.Process(target=exec, args=(COMMAND, known), daemon=True)
        self.process.start()

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()

    def done(self) -> Done:
        self.process.join(200)
        return Done(self.process.exitcode, self.out.read_text(), self.err.read_text())


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


def wait_for_learning(folder: Path, process: Command) -> None:
    """Until ``process`` has begun or gone on with the life in ``folder``, and has learned something, or is done."""
    file = folder / "events.jsonl"
    before = file.stat().st_mtime_ns

    def learning() -> bool:
        events = events_in(folder) if file.stat().st_mtime_ns > before else []
        since_birth = list(itertools.takewhile(lambda event: not isinstance(event, Began), reversed(events)))
        return any(isinstance(event, Learned) for event in since_birth)

    wait_for(lambda: learning() or not process.is_alive())


# The stories below run beside each other while the tests wait for them.


def killed(config: Path, folder: Path) -> tuple[Done, Path, int]:
    """A life, killed twice at random moments; how the last process ended, and how many were killed."""
    runs, kills = folder / "runs", 0
    process = Command(folder, "run", config, *TWO_BEINGS, "--quiet", "--runs-dir", runs)
    wait_for(lambda: any(runs.glob("*/events.jsonl")))
    run = only(runs)
    while kills < 2:
        wait_for_learning(run, process)
        delay = random.uniform(0, 0.5)
        time.sleep(delay)
        process.kill()
        said = process.done()
        print(f"kill -9 {delay:.3f} s after it began to learn: {said.status}, {len(events_in(run))} events")
        if (run / "summary.json").is_file():  # it was faster: done, if perhaps not yet gone
            return Done(0, said.out, said.err), run, kills
        kills += 1
        process = Command(folder, "resume", run, "--quiet")
    return process.done(), run, kills


def asked_to_stop(config: Path, folder: Path) -> tuple[list[Done], list[str], Path]:
    """SIGINT, another process in the same folder, SIGTERM, and on to the end; and the states in between."""
    runs = folder / "runs"
    said, states = [], []
    process = Command(folder, "run", config, *TWO_BEINGS, "--runs-dir", runs)
    wait_for(lambda: any(isinstance(event, Learned) for run in runs.glob("*") for event in events_in(run)))
    run = only(runs)
    process.send(signal.SIGINT)
    said.append(process.done())
    states.append(read(run / "run.json")["state"])

    process = Command(folder, "resume", run)
    told = len(events_in(run))
    wait_for(lambda: len(events_in(run)) > told + 2)
    process.send(signal.SIGSTOP)  # it lives, and will not be done before it is seen to be busy
    try:
        states.append(read(run / "run.json")["state"])
        with pytest.raises(RunBusy, match=f"^{re.escape(str(run))}: another process lives in this folder"):
            session.resume(run)
    finally:
        process.send(signal.SIGTERM)
        process.send(signal.SIGCONT)
    said.append(process.done())
    states.append(read(run / "run.json")["state"])

    said.append(Command(folder, "resume", run).done())
    states.append(read(run / "run.json")["state"])
    return said, states, run


def disk_full(config: Path, folder: Path) -> tuple[Done, Path]:
    """A replay buffer grows until the checkpoint no longer fits."""
    learner = "learner={algorithm: DQN, hyperparameters: {train_freq: 64, buffer_size: 2000, learning_starts: 0}}"
    more = ["world.0.steps=1024", "--runs-dir", str(folder / "runs")]
    return Command(folder, "run", config, learner, *more, largest_file=50_000).done(), only(folder / "runs")


STORIES = (killed, asked_to_stop, disk_full)


@pytest.fixture(scope="module")
def stories(
    tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Callable[..., Any], Future[Any]]]:
    with ThreadPoolExecutor(2) as pool:
        yield {story: pool.submit(story, tiny_yaml, tmp_path_factory.mktemp(story.__name__)) for story in STORIES}


@pytest.fixture(scope="module")
def undisturbed(tiny: Callable[..., LifeConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the life that is killed and asked to stop in the stories, lived in one go."""
    config, runs = tiny(*TWO_BEINGS), tmp_path_factory.mktemp("undisturbed")
    session.session(config, Journal.create(runs, config), quiet=True)
    return only(runs)


# kill -9


def test_kill_nine_at_random_times(stories: dict[Any, Future[Any]], undisturbed: Path) -> None:
    said, folder, kills = stories[killed].result()
    assert kills
    assert said == (0, "", "")  # --quiet
    mine, whole = read(folder / "summary.json"), read(undisturbed / "summary.json")
    assert untimed(mine) == untimed(whole)
    assert read(folder / "run.json")["state"] == "finished"
    ended = events_in(folder)[-1]
    assert ended == events_in(undisturbed)[-1] == Ended("finished", 2048)


def test_the_journal_of_a_killed_life_tells_one_story(stories: dict[Any, Future[Any]], undisturbed: Path) -> None:
    _, folder, _ = stories[killed].result()
    learned = [(e.being, e.step) for e in events_in(folder) if isinstance(e, Learned)]
    assert learned == [(e.being, e.step) for e in events_in(undisturbed) if isinstance(e, Learned)]


# SIGINT and SIGTERM


def test_signals(stories: dict[Any, Future[Any]], undisturbed: Path) -> None:
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
        mine, whole = (read(one / "summary.json")[half]["CartPole-v1"] for one in (folder, undisturbed))
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


@pytest.mark.usefixtures("strange_worlds")
def test_nan_stops_the_life(cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    world = ["world.0.environment=strange_worlds:NotANumber-v0", "world.0.kwargs.after=7"]
    said = cli("run", tiny_yaml, *world, "--runs-dir", tmp_path)
    assert said.status == 1
    assert "Traceback" not in said.err
    told = said.err.splitlines()[-1]
    assert told.startswith("error: organism, task 0 (strange_worlds:NotANumber-v0), step 32: observation holds nan")
    assert read(only(tmp_path) / "run.json")["state"] == "failed"
    ended = events_in(only(tmp_path))[-1]
    assert isinstance(ended, Ended)
    assert (ended.state, ended.text) == ("failed", told.removeprefix("error: "))


def test_a_full_disk_leaves_the_last_checkpoint(cli: Cli, stories: dict[Any, Future[Any]], tmp_path: Path) -> None:
    said, folder = stories[disk_full].result()
    assert said.status == 1
    saved = [event for event in events_in(folder) if isinstance(event, Saved)]
    found = checkpoint.newest(folder)
    assert found is not None
    assert (found.place, found.notes) == (saved[-1].path, [])
    assert 0 < saved[-1].age < 1024
    folder = shutil.copytree(folder, tmp_path / "room was made")
    assert cli("resume", folder).status == 0
    assert read(folder / "summary.json")["tasks"]["CartPole-v1"]["env_steps"] == 1024


def test_a_full_disk_is_told(stories: dict[Any, Future[Any]]) -> None:
    said, folder = stories[disk_full].result()
    assert said.status == 1
    assert "Traceback" not in said.err
    told = said.err.splitlines()[-1]
    assert told.startswith("error: the disk is full")
    assert told.endswith(f"snn4-agent resume {folder}")


def test_a_disk_too_full_for_the_journal_is_told(
    start: Callable[..., subprocess.Popen[str]], tiny_yaml: Path, tmp_path: Path
) -> None:
    """In an interpreter of its own: TensorBoard's writer may complain of the disk until the very exit."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))"
    long = ["world.0.steps=20000", "evaluation.every=20000", "--runs-dir", tmp_path]
    process = start("run", tiny_yaml, *long, prepare=limit)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert re.search(f"error: the disk is full .* snn4-agent resume {re.escape(str(only(tmp_path)))}", err)
