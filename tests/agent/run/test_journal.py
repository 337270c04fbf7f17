from __future__ import annotations

import importlib.metadata
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from run_folders import events_in

from snn4.agent.life.config import LifeConfig, load
from snn4.agent.run.events import (
    Began,
    Compared,
    Ended,
    Entered,
    Evaluated,
    Event,
    Learned,
    Noted,
    Saved,
)
from snn4.agent.run.journal import Journal, RunBusy, RunError, is_lived_in, read_events

ROW = {"return_mean": 9.5, "spikes_per_decision": 3.0, "effective_acs": 2.0, "effective_macs": 1.0}
STORY: list[Event] = [
    Began("x", 0, [{"environment": "CartPole-v1", "steps": 30}], {}, ["organism"]),
    Entered("organism", "CartPole-v1", 0, 0, 30),
    Learned("organism", "CartPole-v1", 0, 10, 30, 10, None, [0.25, 0.5], {"train/loss": 0.1}),
    Evaluated("organism", "CartPole-v1", 10, {"CartPole-v1": ROW}),
    Saved("checkpoints/000001", 10),
    Learned("organism", "CartPole-v1", 0, 20, 30, 20, 7.5, [0.125, 0.0], {"train/loss": 0.2}),
    Saved("checkpoints/000002", 20),
    Evaluated("organism", "CartPole-v1", 30, {"CartPole-v1": ROW | {"return_mean": 100.0}}, final=True),
    Compared({"CartPole-v1": ROW}, {}),
    Noted("Grüße"),
    Ended("finished", 30),
]


@pytest.fixture
def journal(tmp_path: Path, tiny: Callable[..., LifeConfig]) -> Iterator[Journal]:
    """A journal in which `STORY` is written."""
    with Journal.create(tmp_path / "runs", tiny("seed=5")) as journal:
        for event in STORY:
            journal.write(event)
        yield journal


def test_a_new_run_folder(tmp_path: Path, tiny: Callable[..., LifeConfig]) -> None:
    config = tiny("seed=5")
    with Journal.create(tmp_path / "not" / "yet" / "there", config) as journal:
        run = json.loads((journal.folder / "run.json").read_text())
        assert (run["state"], run["end"]) == ("running", None)
    assert journal.folder.parent == tmp_path / "not" / "yet" / "there"
    assert journal.folder.name.startswith("tiny-20")
    assert {p.name for p in journal.folder.iterdir()} >= {"config.yaml", "run.json", "events.jsonl", "tensorboard"}
    assert load(journal.folder / "config.yaml") == config


def test_run_json_says_where_a_result_comes_from(journal: Journal) -> None:
    summary = {"return": 1.0}
    journal.finish("finished", summary)
    run = json.loads((journal.folder / "run.json").read_text())
    assert set(run) >= {
        "environments", "config", "seed", "commit_hash", "versions", "machine", "start", "end", "state",
    }  # fmt: skip
    assert (run["environments"], run["seed"], run["state"]) == (["CartPole-v1"], 5, "finished")
    assert run["config"] == yaml.safe_load((journal.folder / "config.yaml").read_text())
    assert run["versions"]["torch"] == importlib.metadata.version("torch")
    assert run["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert run["machine"]["cores"] == os.cpu_count()
    assert datetime.fromisoformat(run["start"]) <= datetime.fromisoformat(run["end"]) <= datetime.now(timezone.utc)
    assert json.loads((journal.folder / "summary.json").read_text()) == summary


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


@pytest.mark.parametrize(("checkpoint", "left"), [("checkpoints/000001", 5), ("checkpoints/000002", 7), (None, 0)])
def test_what_came_after_a_checkpoint_is_dropped(journal: Journal, checkpoint: str | None, left: int) -> None:
    journal.finish("interrupted")
    with (journal.folder / "events.jsonl").open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00.0')  # the process was killed while it wrote
    journal.__exit__(None, None, None)
    with Journal(journal.folder) as again:
        again.go_on_after(checkpoint)
        again.write(Noted("and on"))
    assert len(list((journal.folder / "tensorboard").iterdir())) == (left > 0)  # one file, of what is left
    assert events_in(journal.folder) == [*STORY[:left], Noted("and on")]
    run = json.loads((journal.folder / "run.json").read_text())
    assert (run["state"], run["end"]) == ("running", None)


def test_a_checkpoint_that_the_journal_never_told_of(journal: Journal) -> None:
    journal.go_on_after("checkpoints/000003")  # killed between writing the checkpoint and telling
    assert events_in(journal.folder) == STORY


def test_two_journals_in_one_folder(journal: Journal) -> None:
    with pytest.raises(RunBusy, match=str(journal.folder)):
        Journal(journal.folder)
    journal.write(Noted("undisturbed"))
    assert events_in(journal.folder) == [*STORY, Noted("undisturbed")]


def test_whoever_asks_does_not_keep_others_out(journal: Journal) -> None:
    fcntl = pytest.importorskip("fcntl")
    assert is_lived_in(journal.folder)
    journal.__exit__(None, None, None)
    assert not is_lived_in(journal.folder)
    with (journal.folder / ".lock").open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.03, fcntl.flock, (asking, fcntl.LOCK_UN)).start()
        with Journal(journal.folder):
            assert is_lived_in(journal.folder)


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, tiny: Callable[..., LifeConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkdir(path: Path, **options: Any) -> None:
        if not options:  # the run's own
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(RunError, match=r"no folder can be made here \(Permission denied\); name another"):
        Journal.create(tmp_path, tiny())


def test_two_lives_of_one_name_in_one_second(tmp_path: Path, tiny: Callable[..., LifeConfig]) -> None:
    folders = set()
    for _ in range(3):
        with Journal.create(tmp_path, tiny()) as journal:
            folders.add(journal.folder)
    assert folders == set(tmp_path.iterdir())
    assert len(folders) == 3


def test_config_is_plain_data(journal: Journal, tiny: Callable[..., LifeConfig]) -> None:
    run = json.loads((journal.folder / "run.json").read_text())
    assert run["config"] == json.loads(json.dumps(asdict(tiny("seed=5"))))
