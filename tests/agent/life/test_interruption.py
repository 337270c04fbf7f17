"""Lives that are interrupted while they are tested, or cannot go on, and what is left in their run folders."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from run_folders import events_in, only, read, untimed
from stories import Story

from snn4.agent.evaluation import episodes
from snn4.agent.evaluation.episodes import TEST_SEED, VALIDATION_SEED
from snn4.agent.life.life import Life
from snn4.agent.run.events import Ended, Learned, Noted, Saved

Cli = Callable[..., Any]


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
    result = cli(*run, tmp_path / "1")
    folder = only(tmp_path / "1")
    assert result.status == 130
    assert result.err == f"interrupted; continue with: snn4-agent resume {folder}\n"
    assert [type(event) for event in events_in(folder)[-3:]] == [Learned, Saved, Ended]
    assert cli("resume", folder).status == 0
    assert cli(*run, tmp_path / "2").status == 0  # it presses but once
    summary, whole = (untimed(read(only(tmp_path / number) / "summary.json")) for number in "12")
    assert [summary[half] for half in ("tasks", "ann_twin")] == [whole[half] for half in ("tasks", "ann_twin")]


def test_interrupted_in_the_very_last_test(cli: Cli, tiny_yaml: Path, tmp_path: Path, interrupting: list[str]) -> None:
    environment, seed = interrupting
    result = cli("run", tiny_yaml, environment, seed.format(TEST_SEED), "--runs-dir", tmp_path)
    folder = only(tmp_path)
    resumable = cli("resume", folder).status == 0
    assert resumable == ("resume" in result.err)


# Lives that cannot go on


@pytest.mark.usefixtures("strange_worlds")
def test_nan_stops_the_life(cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    world = ["world.0.environment=strange_worlds:NotANumber-v0", "world.0.kwargs.after=7"]
    result = cli("run", tiny_yaml, *world, "--runs-dir", tmp_path)
    assert result.status == 1
    assert "Traceback" not in result.err
    message = result.err.splitlines()[-1]
    assert message.startswith("error: organism, task 0 (strange_worlds:NotANumber-v0), step 32: observation holds nan")
    assert read(only(tmp_path) / "run.json")["state"] == "failed"
    ended = events_in(only(tmp_path))[-1]
    assert isinstance(ended, Ended)
    assert (ended.state, ended.text) == ("failed", message.removeprefix("error: "))


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


# Environments without a time limit


def test_an_episode_without_an_end_is_cut(cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    """In CliffWalking nobody falls for good: who does not find the goal walks for ever."""
    changes = ["world.0.environment=CliffWalking-v1", "world.0.steps=128", "evaluation.max_episode_steps=50"]
    result = cli("run", tiny_yaml, *changes, "--runs-dir", tmp_path)
    assert result.status == 0
    assert "SNN validation in CliffWalking-v1: cut 3 of 3 episodes after 50 steps" in result.out
    row = read(only(tmp_path) / "summary.json")["tasks"]["CliffWalking-v1"]
    assert row["return_mean"] <= -50


def test_a_long_validation_tells_of_itself_and_hears_signals(
    tiny: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(episodes, "SIGN_OF_LIFE", 20)
    config = tiny("world.0.environment=CliffWalking-v1", "world.0.steps=128")
    events = Story(Life(config), tmp_path).tell_until(
        lambda event: isinstance(event, Noted) and "validation" in event.text
    )
    note, saved, ended = events[-3:]
    assert note == Noted("SNN validation in CliffWalking-v1: 0 of 3 episodes after 20 steps")
    assert isinstance(saved, Saved)
    assert ended == Ended("interrupted", 128)
