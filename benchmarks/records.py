"""Records: the files of published results. `record.schema.json` states what each of them holds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn4.agent.errors import why
from snn4.benchmarks.record_schema import CELL, RecordError, check, repetitions

RESULTS = Path(__file__).resolve().parent / "results"
"""The published records."""


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
