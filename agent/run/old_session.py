"""What the commands do: a life, its journal and its picture, brought together."""

from __future__ import annotations

import errno
import io
import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console, Group

from snn4.agent.config.file import ConfigError
from snn4.agent.life.config import LifeConfig, load, unlivable
from snn4.agent.life.life import Life, live
from snn4.agent.life.page import write_life_report
from snn4.agent.life.tables import retention_measure_rows, retention_rows, rich_table, score_rows
from snn4.agent.run import checkpoint
from snn4.agent.run.events import Ended, Event
from snn4.agent.run.journal import Journal, RunError, commit_of, is_lived_in, read_events, require_place
from snn4.agent.show.dashboard import Dashboard, Lines, Picture, View

SUMMARY, REPORT = "summary.json", "report.html"


class NoSpace(OSError):
    """The disk is full."""


class Signals:
    """Set by SIGINT and SIGTERM; a second one ends at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self) -> bool:
        return self.received is not None

    @contextmanager
    def watching(self) -> Iterator[Signals]:
        before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: Any) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number


class _Silent(Lines):
    def show(self, event: Event, when: Any = None) -> None:
        return None


def view(
    console: Console,
    quiet: bool = False,
    live: Callable[[Console], View] = Dashboard,
    plain: Callable[[Console], View] = Lines,
) -> View:
    """The dashboard in a terminal, lines in a pipe, nothing if quiet."""
    if quiet:
        return _Silent(console)
    return live(console) if console.is_terminal else plain(console)


@contextmanager
def recording(journal: Journal, signals: Signals, age: Callable[[], int]) -> Iterator[None]:
    """An open journal, which records an end by an error or by a second signal, too; ``age`` is asked at an error."""
    with threads_quiet_about_a_full_disk(), journal, signals.watching():
        try:
            yield
        except KeyboardInterrupt:  # a second signal: the checkpoint before it must do
            if not (journal.folder / SUMMARY).is_file():
                journal.finish("interrupted")
        except (checkpoint.Damaged, checkpoint.RunChanged):
            raise  # what cannot go on stays as it is
        except Exception as error:
            fail(journal, error, age())
            raise


def leave(journal: Journal, signals: Signals) -> NoReturn:
    """Exit as a process that a signal ended, and say how to go on."""
    print(f"interrupted; go on with: snn4-agent resume {shlex.quote(str(journal.folder))}", file=sys.stderr)
    sys.exit(128 + (signals.received or 0))


def begin(config: LifeConfig, runs: Path, quiet: bool = False) -> None:
    """Live from birth on, in a new folder below ``runs``.

    Raises:
        ConfigError: for images that cannot be read or learned: better before the first task than after it.
    """
    if any(task.data is not None for task in config.world) and (problems := list(unlivable(config, images=True))):
        raise ConfigError(config.name, problems)
    session(config, Journal.create(runs, config), quiet)


def session(config: LifeConfig, journal: Journal, quiet: bool = False, restore: bool = False) -> None:
    """Live to the end, or until a signal: then a checkpoint is written and the process exits with 130 or 143."""
    console, signals = Console(), Signals()
    life = Life(config, journal.folder, stop=signals)
    with recording(journal, signals, lambda: life.age):
        if restore:
            journal.go_on_after(life.restore())
        with view(console, quiet) as picture:
            if restore and isinstance(picture, Dashboard):  # its curves begin with the life
                for when, event, _ in read_events(journal.folder):
                    picture.show(event, when)
            for event in live(life):
                journal.write(event)
                picture.show(event)
        _close(life, journal)
    if not (journal.folder / SUMMARY).is_file():
        leave(journal, signals)
    if not quiet:
        console.print(_tables(life.summary(None)))
        console.print(f"run folder: {journal.folder}", markup=False, soft_wrap=True)


def _close(life: Life, journal: Journal) -> None:
    if life.finished:
        journal.finish("finished", life.summary(commit_of(journal.folder)["commit_hash"]))
        report(journal.folder)
    else:
        journal.finish("interrupted")


def fail(journal: Journal, error: BaseException, age: int) -> None:
    """Record what ended a life or a training, as far as the disk allows."""
    try:
        journal.write(Ended("failed", age, str(error)))
        journal.finish("failed")
    except OSError:
        pass  # a full disk; the error itself is what people must see
    if _is_full_disk(error):
        raise NoSpace(
            f"the disk is full ({error}); the last checkpoint in {journal.folder} is intact: make room, then go on "
            f"with: snn4-agent resume {shlex.quote(str(journal.folder))}"
        ) from error


def _is_full_disk(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def threads_quiet_about_a_full_disk() -> Iterator[None]:
    """TensorBoard's writer thread prints a traceback of the error that the life ends with anyway."""
    before = threading.excepthook
    threading.excepthook = lambda told: None if _is_full_disk(told.exc_value) else before(told)
    try:
        yield
    finally:
        threading.excepthook = before


def resume(folder: Path, quiet: bool = False) -> None:
    """Go on with the life in ``folder``, from its newest sound checkpoint or from birth if there is none."""
    config = _config(folder)
    if (folder / SUMMARY).is_file():
        raise RunError(f"{folder}: this life is finished; test it with: snn4-agent evaluate {folder}")
    checkpoint.require_unchanged(folder)
    session(config, Journal(folder), quiet, restore=True)


def watch(
    folder: Path,
    follow: bool = True,
    svg: Path | None = None,
    live: type[Picture] = Dashboard,
    plain: Callable[[Console], View] = Lines,
) -> None:
    """Replay the journal in ``folder``; with ``follow``, wait for what comes until the life ends.

    With ``svg``, write the last picture to that file instead of showing it. ``live`` draws it, ``plain`` tells it.
    """
    require_run(folder)
    require_place(svg)
    if svg is not None:
        console = Console(record=True, file=io.StringIO(), width=110, height=40, force_terminal=True)
        still = live(console, live=False)
        for when, event in following(folder, follow=False):
            still.show(event, when)
        console.print(still.render())
        console.save_svg(str(svg), title=f"snn4-agent watch {folder.name}")
        return
    with view(Console(), False, live, plain) as picture:
        for when, event in following(folder, follow):
            picture.show(event, when)


def following(folder: Path, follow: bool) -> Iterator[tuple[Any, Event]]:
    """Time and event of all that is in the journal, and of what comes as long as a process writes it."""
    position, ended = 0, False
    while True:
        lived = is_lived_in(folder)  # asked before reading: what a process that is gone has written is all there
        for when, event, end in read_events(folder, position):
            position, ended = end, isinstance(event, Ended)
            yield when, event
        if ended or not follow or not lived:
            return
        time.sleep(0.25)


def evaluate(folder: Path, episodes: int | None, as_json: bool) -> None:
    """Test the newest checkpoint in ``folder``, and print the rows of ``summary.json``."""
    config = _config(folder)
    life = Life(config, folder)
    if life.restore() is None:
        raise RunError(f"{folder}: holds no checkpoint yet, so there is nothing to test")
    for being in life.beings:
        if being.organism.tasks:
            life.test(being, episodes or config.evaluation.test_episodes)
    for note in life.notes:
        print(note, file=sys.stderr)
    summary = life.summary(commit_of(folder)["commit_hash"])
    if as_json:
        print(json.dumps(summary, indent=2))
        return
    Console().print(_tables(summary))


def _config(folder: Path) -> LifeConfig:
    require_run(folder)
    return load(folder / "config.yaml")


def require_run(folder: Path) -> None:
    if not (folder / "config.yaml").is_file() or not (folder / "run.json").is_file():
        raise RunError(
            f"{folder}: no run folder (config.yaml or run.json is missing); allowed is one that run or train made; "
            "evaluate also takes a model's folder (config.yaml and model.safetensors), or zoo:NAME"
        )


def report(folder: Path, path: Path | None = None) -> Path:
    """Write the report of the life in ``folder``, as far as it has come, and say where it is."""
    config = _config(folder)
    require_place(path)
    path, summary = path or folder / REPORT, folder / SUMMARY
    tasks = ", ".join(dict.fromkeys(task.name for task in config.world))
    write_life_report(
        path, f"{config.name}: {tasks}, seed {config.seed}", (event for _, event, _ in read_events(folder)),
        json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else None,
    )  # fmt: skip
    return path


def _tables(summary: dict[str, Any]) -> Group:
    """The test, and what is left of each task where there were several."""
    name = f"{summary['config']['name']}, seed {summary['seed']}"
    told = "what is left of each task, % (0 chance, 100 reference)"
    retained = summary.get("retention", {})
    left = [
        rich_table(retention_rows(found), f"{being.replace('_', ' ')}: {told}", apart=2)  # returns, below percents
        for being, found in retained.items()
    ]
    left += [rich_table(retention_measure_rows(retained), "of these percents")] if retained else []
    return Group(rich_table(score_rows(summary), f"{name}: test, per decision"), *left)
