"""Records: the files of published results. `record.schema.json` states what each of them holds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from snn4.agent.errors import BadInput, why

RESULTS = Path(__file__).resolve().parent / "results"
"""The published records."""
SCHEMA = {"schema": 1}
"""The version of the schema, the first field of a record."""
CELL = ("seed", "changes", "environment", "data", "T", "neuron", "method", "epochs", "bits", "measured", "name",
        "policy")  # fmt: skip
"""Fields that tell the rows of a record apart: no two rows are equal in all of them."""


class RecordError(BadInput):
    """Records are refused: one line for each of them."""


@dataclass(frozen=True)
class Record:
    """A valid record."""

    path: Path
    """Of its file, below the folder of all records."""
    content: dict[str, Any]

    @property
    def suite(self) -> str:
        return str(self.content["suite"])


def read_records(folder: Path) -> list[Record]:
    """All records in ``folder`` and below, by path.

    Raises:
        RecordError: there are none, or some are malformed, of another version of the schema, or duplicates.
    """
    paths = sorted(folder.rglob("*.json"))
    if not paths:
        raise RecordError(f"{folder}: has no records, allowed is a folder of results (benchmarks/results)")
    problems: list[str] = []
    records: list[Record] = []
    for path in paths:
        try:
            records.append(Record(path.relative_to(folder), read_record(path)))
        except RecordError as error:
            problems.append(str(error))
    if problems := [*problems, *_duplicates(records, folder)]:
        raise RecordError("\n".join(problems))
    return records


def read_record(path: Path) -> dict[str, Any]:
    """The content of a valid record.

    Raises:
        RecordError: in one line, what is wrong with it.
    """
    try:
        content = json.loads(
            path.read_text(encoding="utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_finite,
            parse_float=_finite,
        )  # fmt: skip
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {why(error)}") from error
    except RecursionError as error:
        raise RecordError(f"{path}: is nested too deeply, allowed is a record as `publish` writes it") from error
    except ValueError as error:
        raise RecordError(f"{path}: is no JSON ({error}), allowed is a record as `publish` writes it") from error
    check(content, str(path))
    return content  # type: ignore[no-any-return]


def check(content: Any, source: str) -> None:
    """Check a record against the schema, and its rows against each other.

    Raises:
        RecordError: in one line that begins with ``source``.
    """
    problems = _problems(content)
    if not problems:
        return
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise RecordError(f"{source}: {problems[0]}{more}")


def require_new(content: dict[str, Any], path: Path) -> None:
    """Refuse to write the valid record ``content`` to ``path`` if that or an equal one is there.

    Raises:
        RecordError: in one line.
    """
    if path.exists():
        raise RecordError(f"{path}: is there already, allowed is a new record; delete it to submit again")
    for other in sorted(path.parent.glob("*.json")):
        try:
            known = set(_measurements(read_record(other)))
        except RecordError:  # another record's problem
            continue
        if known & set(_measurements(content)):
            raise RecordError(_duplicate(path, other))


def contents(folder: Path, suite: str | None = None) -> list[dict[str, Any]]:
    """The records in ``folder``, for the tables of ``suite`` (None: of all suites), unchecked."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [record for record in found if suite in (None, record.get("suite"))]


def data_name(config: Mapping[str, Any]) -> str:
    """The name of a data set, from its plain `DataConfig`: that of its folder if it is one of the user's."""
    return Path(config["folder"]).name if config["folder"] else str(config["name"])


def write(path: Path, text: str) -> None:
    """Write the whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


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


def _duplicates(records: list[Record], folder: Path) -> Iterator[str]:
    """Records of the same measurement."""
    seen: dict[str, Path] = {}
    for record in records:
        for measurement in _measurements(record.content):
            if measurement in seen:
                yield _duplicate(folder / record.path, folder / seen[measurement])
                break
            seen[measurement] = record.path


def _measurements(content: dict[str, Any]) -> Iterator[str]:
    """What a record has measured: suite, config, commit and cells, whatever figures it states."""
    for name, part in repetitions(content):
        cells = [{key: row[key] for key in CELL if key in row} for row in part.get("seeds", ())]
        yield json.dumps([content["suite"], content["config"], name, part["commit_hash"], cells], sort_keys=True)


def _duplicate(path: object, other: Path) -> str:
    return f"{path}: duplicate of {other} (same suite, config, seeds and commit), allowed is one of them"


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return content


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not finite")
    return number
