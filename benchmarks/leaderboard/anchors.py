"""Public figures beside which this project's results stand, quoted from `anchors.json` with their sources."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from snn4.agent.errors import why
from snn4.benchmarks.record_schema import RecordError

ANCHORS = Path(__file__).parents[1] / "anchors.json"


@dataclass(frozen=True)
class Anchor:
    """A quoted figure. Nothing of it was measured here."""

    task: str
    measure: str
    """return, or accuracy as a fraction."""
    network: str
    """SNN or ANN."""
    method: str
    value: float
    source: str
    url: str
    read_in: str
    """Where the figure was read: the primary repository, or a copy of a table."""
    note: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            right = type(value) in (int, float) if field.name == "value" else isinstance(value, str)
            if not right:
                raise ValueError(f"{field.name}: got {value!r}, allowed is a {field.type}")
        if self.measure not in ("return", "accuracy"):
            raise ValueError(f"measure: got {self.measure!r}, allowed are return, accuracy")
        if self.measure == "accuracy" and not 0 <= self.value <= 1:
            raise ValueError(f"value: got {self.value}, allowed is a fraction from 0 to 1")


def read_anchors(path: Path = ANCHORS) -> list[Anchor]:
    """All anchors, the best of each task first.

    Raises:
        RecordError: the file cannot be read, or an anchor is malformed.
    """
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {why(error)}") from error
    except ValueError as error:
        raise RecordError(f"{path}: is no JSON ({error}), allowed is a list of anchors") from error
    if not isinstance(raw, list) or not all(isinstance(entry, dict) for entry in raw):
        raise RecordError(f"{path}: got no list of mappings, allowed is a list of anchors")
    anchors = []
    for number, entry in enumerate(raw):
        try:
            anchors.append(Anchor(**entry))
        except (TypeError, ValueError) as error:
            raise RecordError(f"{path}: {number}: {error}; see the other anchors") from error
    return sorted(anchors, key=lambda anchor: (anchor.task.lower(), -anchor.value, anchor.method))
