"""What the commands ``run``, ``resume``, ``watch``, ``evaluate`` and ``report`` do with a stream of experiences."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from snn4.agent.life.config import ContinualConfig, load_continual
from snn4.agent.life.tables import rich_table
from snn4.agent.run import checkpoint
from snn4.agent.run.journal import Journal, RunError, commit_of, read_events, require_place
from snn4.agent.run.old_session import REPORT, SUMMARY, Signals, leave, recording, require_run, view
from snn4.agent.run.old_session import watch as watch_run
from snn4.agent.show.stream_dashboard import StreamDashboard, StreamLines
from snn4.agent.show.stream_tables import measure_rows
from snn4.agent.stream.beings import prepare
from snn4.agent.stream.page import write_stream_report
from snn4.agent.stream.stream import ContinualLife, live
from snn4.agent.training.students import ANN_TWIN, NETWORK
from snn4.policies.allocation import keep_freed_memory


def stream_session(config: ContinualConfig, runs: Path, folder: Path | None = None, quiet: bool = False) -> None:
    """Live the stream to its end, or until a signal: then the process exits with 130 or 143.

    Args:
        config: checked.
        runs: where the run folder is made.
        folder: the run to go on with, instead of a new one.
        quiet: show nothing but errors.
    """
    use(config)
    stream, beings = prepare(config)  # what is wrong shows before there is a folder
    journal, signals = Journal(folder) if folder else Journal.create(runs, config), Signals()
    life = ContinualLife(config, stream, beings, journal.folder, signals)
    with recording(journal, signals, lambda: life.images):
        if folder:
            journal.go_on_after(life.restore())
        _tell(life, journal, quiet)
    if not (journal.folder / SUMMARY).is_file():
        leave(journal, signals)
    if not quiet:
        show(json.loads((journal.folder / SUMMARY).read_text(encoding="utf-8")))
        print(f"report: {journal.folder / REPORT}")
        print(f"run folder: {journal.folder}")


def _tell(life: ContinualLife, journal: Journal, quiet: bool) -> None:
    """What happens goes into the journal and the picture, and what came out of it beside them."""
    with view(Console(), quiet, StreamDashboard, StreamLines) as picture:
        if life.resumed and isinstance(picture, StreamDashboard):  # its matrix begins with the stream
            for when, event, _ in read_events(journal.folder):
                picture.show(event, when)
        for event in live(life):
            journal.write(event)
            picture.show(event)
    if not life.finished:
        journal.finish("interrupted")
        return
    summary = life.summary(commit_of(journal.folder))
    journal.finish("finished", summary)
    _write_report(journal.folder, journal.folder / REPORT, summary)


def use(config: ContinualConfig) -> None:
    """Set this process up as ``config`` says."""
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()


def resume(folder: Path, quiet: bool = False) -> None:
    """Go on with the stream in ``folder``, from its newest sound checkpoint."""
    require_run(folder)
    if (folder / SUMMARY).is_file():
        raise RunError(f"{folder}: this stream is finished; test it with: snn4-agent evaluate {folder}")
    checkpoint.require_unchanged(folder)
    stream_session(load_continual(folder / "config.yaml"), folder.parent, folder, quiet)


def watch(folder: Path, follow: bool = True, svg: Path | None = None) -> None:
    """Replay the journal in ``folder``; with ``follow``, wait for what comes until the stream ends."""
    watch_run(folder, follow, svg, StreamDashboard, StreamLines)


def evaluate(folder: Path, root: str | None = None, report: Path | None = None, as_json: bool = False) -> None:
    """Test what has come of the stream in ``folder``, so far or in the end, on all experiences.

    Raises:
        RunError: it has learned nothing yet.
        ConfigError, MissingData: the data cannot be read.
    """
    require_run(folder)
    require_place(report)
    config = load_continual(folder / "config.yaml", [f"stream.data.root={root}"] if root else [])
    use(config)
    life = ContinualLife(config, *prepare(config), folder)
    life.restore_learned()
    if not life.beings:
        raise RunError(f"{folder}: no experience has been learned yet, so there is nothing to test")
    for note in life.notes:
        print(note, file=sys.stderr)
    for being in life.beings:
        being.rows[-1] = life.recall(being)
    summary = life.summary(commit_of(folder))
    if report is not None:
        _write_report(folder, report, summary)
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        show(summary)


def report(folder: Path, path: Path | None = None) -> Path:
    """Write the report of the stream in ``folder``, as far as it has come, and say where it is."""
    require_run(folder)
    require_place(path)
    path, summary = path or folder / REPORT, folder / SUMMARY
    _write_report(folder, path, json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {})
    return path


def show(summary: dict[str, Any]) -> None:
    """Print the measures in ``summary.json``."""
    title = f"{summary['config']['name']}, {summary['config']['strategy']['name']}, seed {summary['seed']}"
    Console().print(rich_table(measure_rows(_beings(summary)), title))


def _write_report(folder: Path, path: Path, summary: dict[str, Any]) -> None:
    config = load_continual(folder / "config.yaml")
    title = f"{config.name}: {config.stream.data.name}, {config.stream.scenario}-incremental, {config.strategy.name}"
    costs = {
        name: {key: told[key] for key in ("spikes_per_decision", "energy_joules")}
        for name, told in _beings(summary).items()
    }
    write_stream_report(path, title, (event for _, event, _ in read_events(folder)), costs)


def _beings(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: summary[name] for name in (NETWORK, ANN_TWIN) if name in summary}
