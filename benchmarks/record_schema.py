"""What a record must hold: the schema in `record.schema.json`, and rows that differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from snn4.agent.errors import BadInput

SCHEMA = {"schema": 1}
"""The version of the schema, the first field of a record."""
CELL = ("seed", "changes", "environment", "data", "T", "neuron", "method", "epochs", "bits", "measured", "name",
        "policy")  # fmt: skip
"""Fields that tell the rows of a record apart: no two rows are equal in all of them."""


class RecordError(BadInput):
    """Records are refused: one line for each of them."""


def check(content: Any, source: str) -> None:
    """Check a record against the schema, and its rows against each other.

    Raises:
        RecordError: in one line that begins with ``source``.
    """
    problems = _problems(content)
    if not problems:
        return
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise RecordError(" ".join(f"{source}: {problems[0]}{more}".splitlines()))


def repetitions(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts of a record that have an origin of their own: its strategies, or the whole record as ``""``."""
    yield from content["strategies"].items() if "strategies" in content else [("", content)]


def _problems(content: Any) -> list[str]:
    """The version comes first, because with another version the other problems mean nothing."""
    errors = sorted(_validator().iter_errors(content), key=lambda error: error.path != _VERSION)
    if errors:
        return [_line(error) for error in errors]
    return [problem for name, part in repetitions(content) for problem in _equal_rows(name, part)]


_VERSION = ["schema"]


@lru_cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # slow to import

    return Draft202012Validator(json.loads((Path(__file__).with_name("record.schema.json")).read_text("utf-8")))


def _line(error: Any) -> str:
    """What was wrong, what was got, and what is allowed."""
    place = ".".join(map(str, error.absolute_path))
    if error.validator == "required":
        key = next(key for key in error.validator_value if key not in error.instance)
        allowed = _description(error.schema.get("properties", {}).get(key, {}))
        return f"{place}.{key}: missing, allowed is {allowed}".removeprefix(".")
    shown = json.dumps(error.instance)
    shown = shown if len(shown) <= 60 else f"{type(error.instance).__name__} ({shown[:40]}…)"
    return f"{place}: got {shown}, allowed is {_description(error.schema)}".removeprefix(": ")


def _description(schema: dict[str, Any]) -> str:
    reference = schema.get("$ref", "").rpartition("/")[2]
    found = _validator().schema["$defs"][reference] if reference else schema
    return str(found.get("description", "a value of the type " + str(found.get("type"))))


def _equal_rows(name: str, part: dict[str, Any]) -> Iterator[str]:
    """Rows of the same cell."""
    seen: dict[str, int] = {}
    for number, row in enumerate(part.get("seeds", ())):
        cell = json.dumps({key: row[key] for key in CELL if key in row}, sort_keys=True)
        place = f"strategies.{name}.seeds" if name else "seeds"
        if cell in seen:
            yield f"{place}.{number}: repeats {place}.{seen[cell]} ({cell}), allowed is one row per seed and setting"
        seen.setdefault(cell, number)
