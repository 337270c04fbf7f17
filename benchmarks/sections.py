"""A measurement of many minutes in sections: each is kept as it ends, and people see how long the rest will take."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text


class Kept:
    """Results of sections, a JSON file each, with the settings that they were measured with.

    Args:
        folder: of the files; made where there is none.
        settings: plain data; a result with other settings counts as missing.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings

    def __contains__(self, name: str) -> bool:
        return self._content(name).get("settings") == self.settings

    def __getitem__(self, name: str) -> Any:
        return self._content(name)["result"]

    def seconds(self, name: str) -> float | None:
        """How long the section took, also with other settings; None where it was never measured."""
        return self._content(name).get("seconds")

    def put(self, name: str, result: Any, seconds: float) -> None:
        """Write the whole file or nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(name)
        partial = file.with_name(f".{file.name}.partial")
        content = {"settings": self.settings, "seconds": seconds, "result": result}
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        partial.replace(file)

    def forget(self, name: str) -> None:
        """Delete the result."""
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.json"

    def _content(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads(self._file(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # none yet, or damaged
            return {}
        return content if isinstance(content, dict) else {}


class Forecast:
    """How long sections take: what they took last, or the mean of the others.

    Args:
        seconds: of each section; None where that is not known.
    """

    def __init__(self, seconds: Mapping[str, float | None]) -> None:
        self._seconds = {name: taken for name, taken in seconds.items() if taken is not None}

    def learn(self, name: str, seconds: float) -> None:
        self._seconds[name] = seconds

    def left(self, names: Sequence[str], running: float = 0.0) -> float | None:
        """Seconds for ``names``, the first of which runs for ``running`` seconds; None where nothing is known."""
        if not self._seconds:
            return None
        mean = sum(self._seconds.values()) / len(self._seconds)
        first, *others = [self._seconds.get(name, mean) for name in names] or [0.0]
        return max(first - running, 0.0) + sum(others)


def measure(
    sections: Mapping[str, Callable[[], Any]], kept: Kept, console: Console, fresh: bool = False
) -> dict[str, Any]:
    """The result of each section: the kept one, else what it gives now, which is kept at once.

    Args:
        sections: by name; they return plain data.
        kept: results of earlier calls.
        console: gets a bar where it is a terminal, else a line for each section.
        fresh: whether to delete what is kept and measure everything anew.
    """
    forecast = Forecast({name: kept.seconds(name) for name in sections})
    for name in sections if fresh else ():
        kept.forget(name)
    missing = [name for name in sections if name not in kept]
    if len(missing) < len(sections):
        there = f"{len(sections) - len(missing)} of {len(sections)} sections are in {kept.folder}"
        console.print(f"{there}; --fresh measures them anew", soft_wrap=True, highlight=False)
    with _bar(missing, forecast, console) as bar:
        task = bar.add_task("", total=len(missing), started=0.0)
        for number, name in enumerate(missing):
            started = time.monotonic()
            bar.update(task, description=name, completed=number, started=started)
            if not console.is_terminal:
                line = f"{name}: {number + 1} of {len(missing)}, ETA {_duration(forecast.left(missing[number:]))}"
                console.print(line, soft_wrap=True, highlight=False)
            result = sections[name]()
            seconds = time.monotonic() - started
            kept.put(name, result, seconds)
            forecast.learn(name, seconds)
        bar.update(task, completed=len(missing))
    return {name: kept[name] for name in sections}


def _bar(names: Sequence[str], forecast: Forecast, console: Console) -> Progress:
    class Left(ProgressColumn):
        def render(self, task: Task) -> Text:
            running = time.monotonic() - task.fields["started"]
            return Text(f"ETA {_duration(forecast.left(names[int(task.completed) :], running))}")

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Left()
    return Progress(*columns, console=console, disable=not console.is_terminal, refresh_per_second=2)


def _duration(seconds: float | None) -> str:
    """Hours, minutes and seconds: ``0:02:05``."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
