"""The commands, the same for every kind of run: begin, resume, watch, evaluate, report, and show plan and keys."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from snn4.agent import kinds
from snn4.agent.command_configs import read_config
from snn4.agent.config.file import dump
from snn4.agent.config.keys import plain, table
from snn4.agent.errors import exit_status
from snn4.agent.models.files import find_model, save_model
from snn4.agent.run import checkpoint
from snn4.agent.run.events import Saved
from snn4.agent.run.journal import (
    CONFIG,
    RUN,
    SUMMARY,
    Journal,
    RunError,
    commit_of,
    following,
    read_events,
    read_summary,
    require_place,
    require_run,
    thinned_events,
)
from snn4.agent.run.kind import Kind
from snn4.agent.run.place import places
from snn4.agent.run.provenance import commit
from snn4.agent.run.recording import recording, resume_command
from snn4.agent.run.signals import Signals
from snn4.agent.run.story import beginning, story
from snn4.agent.run.work import File, Model, Pause, Processes, Work
from snn4.agent.show.dashboard import Dashboard, view
from snn4.agent.show.page import write_page

REPORT = "report.html"


def begin(kind: Kind, config: Any, runs: Path, quiet: bool = False) -> Path | None:
    """Do a new run in a new folder in ``runs``, and return it, unless this process follows another one. A signal stops
    the run after a checkpoint, with exit status 130 or 143."""
    about = {**kind.about(config), "seed": config.seed, "config": dataclasses.asdict(config)}
    return _run(kind, config, lambda: Journal.create(runs, config.name, dump(config), about), quiet)


def resume(folder: Path, quiet: bool = False) -> None:
    """Continue the run in ``folder`` from its newest sound checkpoint; without one, from the beginning."""
    require_run(folder)
    if (folder / SUMMARY).is_file():
        raise RunError(f"{folder}: this run is finished; test it with: snn4-agent evaluate {folder}")
    kind, config = kinds.load(folder / CONFIG)
    checkpoint.require_unchanged(folder)
    _run(kind, config, lambda: Journal(folder), quiet, resumed=True)


def _run(
    kind: Kind, config: Any, open_journal: Callable[[], Journal], quiet: bool, resumed: bool = False
) -> Path | None:
    processes = kind.processes(config)
    if not processes.leads:
        _follow(kind, config, processes, resumed)
        return None
    folder: str | None = None
    try:
        work = kind.prepare(config, processes)  # errors show before there is a folder
        journal = open_journal()
        folder = str(journal.folder)
    finally:
        processes.broadcast(folder)
    signals = Signals()
    with recording(journal, signals, work):
        if resumed:
            _restore(work, journal)
        _tell(work, config, journal, signals, processes, quiet, resumed)
        _close(kind, work, config, journal)
    if (summary := read_summary(journal.folder)) is None:
        _leave(journal, signals)
    if not quiet:
        Console().print(kind.tables(summary))
        print(f"report: {journal.folder / REPORT}\nrun folder: {journal.folder}")
    return journal.folder


def _tell(
    work: Work, config: Any, journal: Journal, signals: Signals, processes: Processes, quiet: bool, resumed: bool
) -> None:
    """Write every event into the journal and draw it."""

    def save() -> Saved:
        saved = _save(work, config, journal)
        processes.barrier()
        return saved

    def keep(model: Model | File) -> None:
        if isinstance(model, File):
            model.write(journal.folder / model.name)
            return
        save_model(journal.folder / f"{model.name}.safetensors", model.weights, model.about)

    with view(Console(), quiet) as picture:
        if isinstance(picture, Dashboard):  # its curves start at the beginning of the run
            for when, event, _ in read_events(journal.folder):
                picture.show(event, when)
        began = beginning(work, config.name, config.seed, resumed)
        for event in story(work, began, signals, save, keep):
            journal.write(event)
            picture.show(event)


def _save(work: Work, config: Any, journal: Journal) -> Saved:
    started = time.perf_counter()
    folder = journal.folder / checkpoint.CHECKPOINTS
    about = {"age": work.age, "journal": journal.position, "fingerprint": work.fingerprint}
    path = checkpoint.save(folder, work.state(), about, dump(config), config.keep_checkpoints)
    place = f"{checkpoint.CHECKPOINTS}/{path.name}"
    return Saved(place, work.age, checkpoint.size(path), time.perf_counter() - started)


def _restore(work: Work, journal: Journal) -> None:
    """Set ``work`` and the journal back to the newest sound checkpoint."""
    saved = checkpoint.newest(journal.folder)
    if saved is None:
        journal.go_on_after(None)
        return
    saved.require_same(journal.folder, work.fingerprint)
    work.load_state(saved.state)
    work.notes += saved.notes
    event = Saved(saved.place, work.age, checkpoint.size(saved.path))
    journal.go_on_after(event, saved.about.get("journal"))


def _follow(kind: Kind, config: Any, processes: Processes, resumed: bool) -> None:
    """Work in a process that is not the leading one, which alone writes, shows and reports errors."""
    folder: str | None = processes.broadcast(None)
    if folder is None:
        return
    signals = Signals()
    try:
        with signals.watching():
            work = kind.prepare(config, processes)
            if resumed and (saved := checkpoint.newest(Path(folder))) is not None:
                saved.require_same(Path(folder), work.fingerprint)
                work.load_state(saved.state)
            for part in work.live(signals):
                if isinstance(part, Pause):
                    processes.barrier()
    except KeyboardInterrupt:
        return
    except Exception as error:
        if exit_status(error) is None:
            raise


def _close(kind: Kind, work: Work, config: Any, journal: Journal) -> None:
    if not work.finished:
        journal.finish("interrupted")
        return
    origin = {"seed": config.seed, **commit_of(journal.folder), "config": dataclasses.asdict(config)}
    summary = {**work.summary(), **origin}
    sections = kind.sections(thinned_events(journal.folder), summary)
    write_page(journal.folder / REPORT, kind.title(summary["config"]), sections)
    journal.finish("finished", summary)  # last: a run that could not write its report is resumed


def _leave(journal: Journal, signals: Signals) -> NoReturn:
    """Exit as a process that a signal ended, and say how to continue."""
    print(f"interrupted; continue with: {resume_command(journal)}", file=sys.stderr)
    sys.exit(128 + (signals.received or 0))


def watch(folder: Path, follow: bool = True, svg: Path | None = None) -> None:
    """Replay the journal in ``folder``; with ``follow``, wait for new events until the run ends.

    With ``svg``, write the last picture to that file instead of showing it.
    """
    require_run(folder)
    require_place(svg)
    if svg is None:
        with view(Console()) as picture:
            for when, event in following(folder, follow):
                picture.show(event, when)
        return
    console = Console(record=True, file=io.StringIO(), width=110, height=40, force_terminal=True)
    still = Dashboard(console, live=False)
    for when, event in following(folder, follow=False):
        still.show(event, when)
    console.print(still.render())
    console.save_svg(str(svg), title=f"snn4-agent watch {folder.name}")


def evaluate(name: str, options: Mapping[str, Any], page: Path | None = None, as_json: bool = False) -> None:
    """Test a run as far as it has come, or a model, and print the summary.

    Args:
        name: a run folder, a model's folder, or ``zoo:NAME``.
        options: of the command line, only those that were given.
        page: an HTML file to write.
        as_json: print the content of ``summary.json``.

    Raises:
        RunError: an option that the kind does not have, or nothing to test.
    """
    folder = find_model(name)
    if not (folder / CONFIG).is_file():
        require_run(folder)
    require_place(page)
    kind, raw, source = kinds.opened(folder / CONFIG)
    config = kind.read(raw, source, _overrides(kind, folder, options))
    measured, notes = kind.evaluate(config, folder, options)
    for note in notes:
        print(note, file=sys.stderr)
    code = commit_of(folder) if (folder / RUN).is_file() else commit()
    summary = {"config": dataclasses.asdict(config), **measured, "seed": config.seed, **code}
    if page is not None:
        write_page(page, kind.title(summary["config"]), kind.sections(thinned_events(folder), summary))
    if as_json:
        print(json.dumps(summary, indent=2))
        return
    Console().print(kind.tables(summary))
    if page is not None:
        print(f"report: {page}")


def _overrides(kind: Kind, folder: Path, options: Mapping[str, Any]) -> list[str]:
    """The ``key=value`` of each option that stands for a key."""
    if wrong := [f"--{option}" for option in options if option not in kind.options]:
        allowed = ", ".join(f"--{option}" for option in kind.options) or "none"
        raise RunError(f"{folder}: {', '.join(wrong)}: not allowed for a {kind.name}; allowed are {allowed}")
    keys = {kind.options[option]: value for option, value in options.items()}
    return [f"{key}={json.dumps(value)}" for key, value in keys.items() if key is not None]


def report(folder: Path, path: Path | None = None) -> Path:
    """Write the page of the run in ``folder``, as far as it has come, and return its path."""
    require_run(folder)
    require_place(path)
    kind, raw, _ = kinds.opened(folder / CONFIG)
    path = path or folder / REPORT
    write_page(path, kind.title(raw), kind.sections(thinned_events(folder), read_summary(folder)))
    return path


def show_keys(key: str, kind: str | None) -> None:
    """Print ``key``, and all keys below it, of the configs of ``kind``; without ``kind``, of every kind that has it."""
    console = Console()
    for name, rows in kinds.keys_of(key, kind).items():
        if console.is_terminal:
            console.print(f"[b]kind: {name}[/b]", table(rows))
        else:
            print(plain(rows), end="")


def show_genes(config: str, overrides: Sequence[str]) -> None:
    """Print the genes of ``config`` that evolve; a run folder shows those with which its life began."""
    from snn4.agent.show.genes import rows, table  # configs need no torch

    folder = Path(config)
    _, checked = read_config(str(folder / CONFIG) if (folder / RUN).is_file() else config, overrides, {})
    found = rows(checked)
    console = Console()
    if console.is_terminal:
        console.print(table(found))
    else:
        print("".join("\t".join(row) + "\n" for row in found), end="")


def world(config: str) -> None:
    """Print the plan of ``config``: a file, a shipped config, or a run folder with its progress."""
    folder = Path(config)
    is_run = (folder / RUN).is_file()
    kind, checked = kinds.load(folder / CONFIG if is_run else config)
    Console().print(kind.plan(checked, places(thinned_events(folder)) if is_run else {}))
