"""The tables in README and in docs/, between their markers: <!-- begin: COMMAND --> and <!-- end -->."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from snn4.benchmarks.record_schema import RecordError
from snn4.benchmarks.records import Record
from snn4.benchmarks.tables import (
    agents,
    c,
    compression,
    continual,
    control,
    conversion,
    distillation,
    drift,
    evolution,
    export,
    images,
    lava,
    speed,
)

PAGES = (
    "README.md",
    "README.ja.md",
    "docs/c.md",
    "docs/compression.md",
    "docs/export.md",
    "docs/loihi.md",
    "docs/results.md",
    "docs/speed.md",
)
BOARD, BOARD_JA = "snn4-agent leaderboard", "snn4-agent leaderboard, 日本語"
"""The markers of README's table."""
_TABLE = re.compile(r"(<!-- begin: (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)
Results = Mapping[str, Sequence[dict[str, Any]]]
"""The contents of records by suite."""
TABLES: dict[str, Callable[[Results], str]] = {
    "snn4-agent bench control --table": lambda results: control.table(results["control"]),
    "snn4-agent bench classification --table": lambda results: images.table(results["images"]),
    "snn4-agent bench continual --table": lambda results: continual.table(results["continual"]),
    "python -m snn4.benchmarks.conversion --table": lambda results: conversion.table(results["conversion"]),
    "python -m snn4.benchmarks.agents --table": lambda results: agents.table(results["agents"][0]),
    "snn4-agent bench distillation --table": lambda results: distillation.table(results["distillation"]),
    "snn4-agent bench evolution --table": lambda results: evolution.table(results["evolution"]),
    "snn4-agent bench drift --table": lambda results: drift.table(results["drift"]),
    "python -m snn4.benchmarks.compression --table networks": lambda results: compression.network_table(
        results["compression"]
    ),
    "python -m snn4.benchmarks.compression --table engine": lambda results: compression.engine_table(
        results["compression"]
    ),
    "snn4-agent bench export --table": lambda results: export.table(results["export"]),
    "python -m snn4.benchmarks.c --table": lambda results: c.table(results["c"][0]),
    "python -m snn4.benchmarks.lava --table": lambda results: lava.table(results["lava"][0]),
    "benchmarks/results/speed.json": lambda results: speed.table(results["speed"][0]["rows"]),
}
"""What each marker stands for: the command prints the same."""


def by_suite(records: Sequence[Record]) -> Results:
    """The contents of ``records``, in their order."""
    results: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        results.setdefault(record.suite, []).append(record.content)
    return results


def tables(records: Sequence[Record], boards: Mapping[str, str]) -> Callable[[str], str]:
    """A function that gives the text of a page its present tables.

    It raises RecordError for a marker that stands for nothing, or if a record does not hold the figures of its table.
    """
    results = by_suite(records)

    def table(marker: str) -> str:
        if marker in boards:
            return boards[marker]
        if marker not in TABLES:
            raise RecordError(f"begin: got {marker!r}, allowed are {', '.join([*boards, *TABLES])}")
        try:
            return TABLES[marker](results)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise RecordError(f"{marker}: a record lacks figures ({type(error).__name__}: {error})") from error

    return lambda text: _TABLE.sub(lambda part: f"{part[1]}\n{table(part[2])}\n\n{part[3]}", text)
