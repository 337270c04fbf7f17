from __future__ import annotations

import importlib.metadata
import json
import os
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import events_in, only, read

from snn4.agent import kinds, runner
from snn4.agent.run.events import Began, Compared, Ended, Entered, Evaluated, Event, Learned, Noted, Saved
from snn4.agent.run.journal import Journal, RunBusy, RunError, is_busy, read_events, thinned_events

ABOUT = {"environments": ["CartPole-v1"], "seed": 5, "config": {"name": "x"}}
ROW = {"return_mean": 9.5, "spikes_per_decision": 3.0, "effective_acs": 2.0, "effective_macs": 1.0}
STORY: list[Event] = [
    Began("x", 0, [{"environment": "CartPole-v1", "steps": 30}], {}, ["organism"]),
    Entered("organism", "CartPole-v1", 0, 0, 30),
    Learned("organism", "CartPole-v1", 0, 10, 30, 10, None, [0.25, 0.5], {"train/loss": 0.1}),
    Evaluated("organism", "CartPole-v1", 10, {"CartPole-v1": ROW}),
    Saved("checkpoints/000001", 10),
    Learned("organism", "CartPole-v1", 0, 20, 30, 20, 7.5, [0.125, 0.0], {"train/loss": 0.2}),
    Saved("checkpoints/000002", 20),
    Evaluated("organism", "CartPole-v1", 30, {"CartPole-v1": ROW | {"return_mean": 100.0}}, part="test", number=1),
    Compared({"CartPole-v1": ROW}, {}),
    Noted("Grüße"),
    Ended("finished", 30),
]


def test_a_long_story_is_thinned(tmp_path: Path) -> None:
    """Nothing but Learned leaves, and what was learned last before something else stays."""

    def learned(age: int) -> Learned:
        return Learned("organism", "CartPole-v1", 0, age, 3000, age, None, [], {})

    first, second = ([learned(age) for age in range(start, start + 1000)] for start in (0, 1000))
    with create(tmp_path) as journal:
        for event in (*STORY[:2], *first, STORY[3], *second, STORY[-1]):
            journal.write(event)
    assert list(thinned_events(journal.folder, 10_000)) == [*STORY[:2], *first, STORY[3], *second, STORY[-1]]
    thin = list(thinned_events(journal.folder, 20))
    assert len(thin) < 30
    assert [event for event in thin if not isinstance(event, Learned)] == [*STORY[:2], STORY[3], STORY[-1]]
    assert (thin[thin.index(STORY[3]) - 1], thin[-2]) == (first[-1], second[-1])


def create(runs: Path) -> Journal:
    return Journal.create(runs, "x", "name: x\n", ABOUT)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A journal in which `STORY` is written."""
    with create(tmp_path / "runs") as journal:
        for event in STORY:
            journal.write(event)
        yield journal


def test_new_run_folders_also_of_one_name_in_one_second(tmp_path: Path) -> None:
    runs, folders = tmp_path / "not" / "yet" / "there", set()
    for _ in range(3):
        with create(runs) as journal:
            folders.add(journal.folder)
            assert journal.folder.name.startswith("x-20")
            run = read(journal.folder / "run.json")
            assert (run["state"], run["end"]) == ("running", None)
        assert (journal.folder / "config.yaml").read_text() == "name: x\n"
    assert folders == set(runs.iterdir())
    assert len(folders) == 3


def test_run_json_says_where_a_result_comes_from(journal: Journal) -> None:
    summary = {"return": 1.0}
    journal.finish("finished", summary)
    run = read(journal.folder / "run.json")
    assert {key: run[key] for key in ABOUT} == ABOUT
    assert run["state"] == "finished"
    assert "commit_hash" in run
    assert run["versions"]["torch"] == importlib.metadata.version("torch")
    assert run["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert run["machine"]["cores"] == os.cpu_count()
    assert datetime.fromisoformat(run["start"]) <= datetime.fromisoformat(run["end"]) <= datetime.now(timezone.utc)
    assert read(journal.folder / "summary.json") == summary


def test_events_are_read_as_they_were_written(journal: Journal) -> None:
    assert events_in(journal.folder) == STORY
    times = [time for time, _, _ in read_events(journal.folder)]
    assert times == sorted(times)
    for line in (journal.folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
        assert {"time", "event"} <= set(json.loads(line))


def test_reading_goes_on_where_it_stopped(journal: Journal) -> None:
    position = [position for _, _, position in read_events(journal.folder)][3]
    assert [event for _, event, _ in read_events(journal.folder, position)] == STORY[4:]


def test_a_half_written_last_line_is_ignored(journal: Journal) -> None:
    path = journal.folder / "events.jsonl"
    data = path.read_bytes()
    for cut in (1, 2, 10):
        path.write_bytes(data[:-cut])
        assert events_in(journal.folder) == STORY[:-1]


def end_of(folder: Path, number: int) -> int:
    """Bytes of the journal up to so many events."""
    return [0, *(position for _, _, position in read_events(folder))][number]


@pytest.mark.parametrize("knows_its_position", [True, False], ids=["", "version 0.1"])
@pytest.mark.parametrize(("saved", "left"), [(STORY[4], 5), (STORY[6], 7), (None, 0)])
def test_what_came_after_a_checkpoint_is_dropped(
    journal: Journal, saved: Saved | None, left: int, knows_its_position: bool
) -> None:
    position = end_of(journal.folder, left - 1) if saved and knows_its_position else None
    journal.finish("interrupted")
    with (journal.folder / "events.jsonl").open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00.0')  # the process was killed while it wrote
    journal.__exit__(None, None, None)
    with Journal(journal.folder) as again:
        again.go_on_after(saved, position)
        again.write(Noted("and on"))
    assert len(list((journal.folder / "tensorboard").iterdir())) == (left > 0)  # one file, of what is left
    assert events_in(journal.folder) == [*STORY[:left], Noted("and on")]
    run = read(journal.folder / "run.json")
    assert (run["state"], run["end"]) == ("running", None)


THIRD = Saved("checkpoints/000003", 30)


def test_a_checkpoint_of_which_nobody_has_told(journal: Journal) -> None:
    """Killed between a checkpoint and the line that tells of it, also after a resumption from there."""
    position = journal.position
    for _ in range(2):
        journal.go_on_after(THIRD, position)
        assert events_in(journal.folder) == [*STORY, THIRD]
        journal.write(Noted("lived again"))
    with (journal.folder / "events.jsonl").open("r+") as file:
        file.truncate(position)
    journal.go_on_after(THIRD)  # version 0.1 kept no position
    assert events_in(journal.folder) == [*STORY, THIRD]


def test_a_journal_that_is_shorter_than_its_checkpoint_knows(journal: Journal) -> None:
    """A power cut may take lines that a checkpoint, which is written through to the disk, was made after."""
    position, path = journal.position, journal.folder / "events.jsonl"
    path.write_bytes(path.read_bytes()[: end_of(journal.folder, 7) + 20])
    for _ in range(2):  # what was lived after that may lie on both sides of the position
        journal.go_on_after(THIRD, position)
        assert events_in(journal.folder) == [*STORY[:7], THIRD]
        for event in STORY:
            journal.write(event)


class Killed(BaseException):
    """As by a signal that cannot be caught: nothing is told, nothing tidied up."""


def test_killed_twice_before_the_next_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First between a checkpoint and the line that tells of it: in the end each event stands once."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    import toy_kind  # type: ignore[import-not-found]

    write = Journal.write

    def dying(kind: type[Event], **fields: int) -> Any:
        def write_or_die(journal: Journal, event: Event) -> None:
            if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
                raise Killed
            write(journal, event)

        return write_or_die

    monkeypatch.setattr(kinds, "named", lambda name: toy_kind.TOY)
    monkeypatch.setattr(Journal, "write", dying(Saved, age=40))
    with pytest.raises(Killed):
        runner.begin(toy_kind.TOY, toy_kind.ToyConfig("toy", numbers=60), tmp_path, quiet=True)
    folder = only(tmp_path)
    monkeypatch.setattr(Journal, "write", dying(Learned, step=50))
    with pytest.raises(Killed):
        runner.resume(folder, quiet=True)
    monkeypatch.setattr(Journal, "write", write)
    runner.resume(folder, quiet=True)
    events = events_in(folder)
    assert [event.step for event in events if isinstance(event, Learned)] == list(range(1, 61))
    assert [event.age for event in events if isinstance(event, Saved)] == [20, 40, 60]
    assert [(event.age, event.resumed) for event in events if isinstance(event, Began)] == [(0, False), (40, True)]


def test_two_journals_in_one_folder(journal: Journal) -> None:
    with pytest.raises(RunBusy, match=str(journal.folder)):
        Journal(journal.folder)
    journal.write(Noted("undisturbed"))
    assert events_in(journal.folder) == [*STORY, Noted("undisturbed")]


def test_whoever_asks_does_not_keep_others_out(journal: Journal) -> None:
    fcntl = pytest.importorskip("fcntl")
    assert is_busy(journal.folder)
    journal.__exit__(None, None, None)
    assert not is_busy(journal.folder)
    with (journal.folder / ".lock").open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.03, fcntl.flock, (asking, fcntl.LOCK_UN)).start()
        with Journal(journal.folder):
            assert is_busy(journal.folder)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [".lock", "events.jsonl"])
def test_a_pipe_is_not_waited_for(journal: Journal, name: str) -> None:
    journal.__exit__(None, None, None)
    (journal.folder / name).unlink()
    os.mkfifo(journal.folder / name)
    with pytest.raises(RunError, match=f"{name}: is not a regular file; delete it"):
        Journal(journal.folder)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(path: Path, **options: Any) -> None:
        if not options:  # the run's own
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(RunError, match=r"cannot make a folder here \(Permission denied\); name another"):
        create(tmp_path)
