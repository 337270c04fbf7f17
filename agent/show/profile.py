"""Where the seconds of a run went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from snn4.agent.run.beings import name_of
from snn4.agent.run.events import Evaluated, Event, Evolved, Learned, Saved
from snn4.agent.run.journal import read_events
from snn4.agent.show.tables import rich_table

REST = "the rest: making policies and environments, dashboard, report"


def show_profile(folder: Path, process_started: float) -> None:
    """Print where the time of a finished run in ``folder`` went.

    Args:
        process_started: seconds since the epoch.
    """
    story = list(read_events(folder))
    started, total = (time.timestamp() - process_started for time, *_ in (story[0], story[-1]))
    Console().print(table(profile((event for _, event, _ in story), started, total)))


def profile(events: Iterable[Event], started: float, total: float) -> dict[str, float]:
    """Seconds by what they were spent on.

    Args:
        events: of the whole run.
        started: seconds until it began: imports, config, checks.
        total: seconds until it ended.
    """
    seconds: dict[str, float] = defaultdict(float, {"starting: imports, config, checks": started})
    for event in events:
        match event:
            case Learned():
                name = name_of(event.being)
                acting = event.acting_seconds
                if acting is not None:
                    seconds[f"{name}: acting (rollouts)"] += acting
                seconds[f"{name}: learning" + " (updates)" * (acting is not None)] += event.seconds - (acting or 0.0)
            case Evaluated():
                seconds[f"{name_of(event.being)}: {event.part}"] += event.seconds
            case Evolved() if not event.asleep:
                seconds[f"{name_of(event.being)}: trials of evolution, all workers"] += event.seconds
            case Saved():
                seconds["checkpoints"] += event.seconds
    seconds[REST] = max(0.0, total - sum(seconds.values()))
    return dict(seconds)


def table(seconds: dict[str, float]) -> Table:
    """One line each, and their sum."""
    total = sum(seconds.values())
    rows = [[name, f"{value:.1f}", f"{100 * value / total:.0f}"] for name, value in seconds.items()]
    return rich_table([["", "seconds", "%"], *rows, ["all", f"{total:.1f}", "100"]], "where the time went")
