"""A long measurement in sections: each finished section is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from snn4.benchmarks.progress import Forecast, watched
from snn4.benchmarks.publishing import write_json


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
        write_json(self._file(name), {"settings": self.settings, "seconds": seconds, "result": result})

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
    results = (sections[name]() for name in missing)
    for name, result, seconds in watched(missing, results, forecast, console):
        kept.put(name, result, seconds)
    return {name: kept[name] for name in sections}
