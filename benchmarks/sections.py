"""A long measurement in sections: each finished section is kept, and the remaining time is shown."""

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
    """Results of sections with the settings of their measurement, one JSON file per section.

    Args:
        folder: of the files, made if it is missing.
        settings: plain data; a result with other settings counts as missing.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings

    def __contains__(self, name: str) -> bool:
        return self._content(name).get("settings") == self.settings

    def __getitem__(self, name: str) -> Any:
        return self._content(name)["result"]

    def seconds(self, name: str) -> float | None:
        """Duration of the section, also with other settings; None if it was never measured."""
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
        except (OSError, ValueError):  # missing or damaged
            return {}
        return content if isinstance(content, dict) else {}


class Forecast:
    """Expected durations of sections: the last duration, or the mean of other sections.

    Args:
        seconds: of each section; None if unknown.
    """

    def __init__(self, seconds: Mapping[str, float | None]) -> None:
        self._seconds = {name: duration for name, duration in seconds.items() if duration is not None}

    def learn(self, name: str, seconds: float) -> None:
        self._seconds[name] = seconds

    def left(self, names: Sequence[str], running: float = 0.0) -> float | None:
        """Seconds for ``names``, of which the first has run for ``running`` seconds; None if no duration is known."""
        if not self._seconds:
            return None
        mean = sum(self._seconds.values()) / len(self._seconds)
        first, *others = [self._seconds.get(name, mean) for name in names] or [0.0]
        return max(first - running, 0.0) + sum(others)


def measure(
    sections: Mapping[str, Callable[[], Any]], kept: Kept, console: Console, fresh: bool = False
) -> dict[str, Any]:
    """The result of each section: kept from an earlier call, or measured now and kept at once.

    Args:
        sections: by name; they return plain data.
        kept: results of earlier calls.
        console: shows a bar on a terminal, else one line per section.
        fresh: whether to delete kept results and measure everything again.
    """
    forecast = Forecast({name: kept.seconds(name) for name in sections})
    for name in sections if fresh else ():
        kept.forget(name)
    missing = [name for name in sections if name not in kept]
    if len(missing) < len(sections):
        status = f"{len(sections) - len(missing)} of {len(sections)} sections are in {kept.folder}"
        console.print(f"{status}; --fresh measures them again", soft_wrap=True, highlight=False)
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
    minutes, remainder = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{remainder:02d}"
