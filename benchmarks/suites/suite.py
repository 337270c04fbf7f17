"""One flow for all suites: sources x changes x seeds -> cells -> runs -> rows -> result files -> tables."""

from __future__ import annotations

import itertools
import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from snn4.agent.config.file import ConfigError
from snn4.agent.run.provenance import provenance
from snn4.benchmarks.progress import Forecast, watched
from snn4.benchmarks.publishing import RESULTS, side_by_side, write_json
from snn4.benchmarks.record_schema import SCHEMA
from snn4.benchmarks.suites.underway import underway

KEPT = 1.0
"""Seconds in which no run ends: a cell that takes less is one whose runs were there."""
Row = dict[str, Any]
"""What one cell has measured: plain data."""
Result = dict[str, Any]
"""Content of a result file: name, command, commit, machine, ``summary``, and the rows as ``seeds``."""


@dataclass(frozen=True)
class Cell:
    """One measurement of a suite."""

    source: str
    """A config, with which the runs of the cell are made."""
    changes: tuple[str, ...] = ()
    """``key=value``, the same in all cells of a call."""
    varied: tuple[str, ...] = ()
    """``key=value`` that differ from cell to cell."""
    seed: int = 0

    @property
    def overrides(self) -> list[str]:
        """All changes of the config, with the seed."""
        return [*self.changes, *self.varied, f"seed={self.seed}"]

    @property
    def variant(self) -> str:
        """End of the name of a result: the values that are varied."""
        return "".join(f"-{change.partition('=')[2]}" for change in self.varied)

    @property
    def name(self) -> str:
        return f"{' '.join((Path(self.source).stem, *self.varied))}, seed {self.seed}"


class Suite(Protocol):
    """A module of this package, which measures one thing. ``snn4-agent bench`` does the rest for all alike."""

    FOLDER: Path
    """Published results."""
    GROUPS: Mapping[str, Sequence[str]]
    """Sources by the name of their group; all of them are measured by default."""
    QUICK: Mapping[str, Sequence[str]]
    """Sources of ``--quick``, each with the changes that make it small."""
    VARIED: Sequence[str]
    """``KEY=A,B`` that are varied by default."""

    def result_of(self, cell: Cell) -> str:
        """Name of the result to which ``cell`` belongs; raises the error of a cell that cannot be measured."""

    def measure(self, cell: Cell, runs: Path) -> Row:
        """The row of ``cell``, from run folders in ``runs``: finished runs are not repeated, others are resumed."""

    def summary(self, rows: list[Row]) -> dict[str, Any]:
        """What the rows of a result say together."""

    def table(self, results: Iterable[Result]) -> str:
        """Markdown."""


@dataclass(frozen=True)
class Order:
    """What is asked of a suite."""

    sources: Sequence[str] = ()
    """Configs, or groups of the suite; none: all groups."""
    changes: Sequence[str] = ()
    vary: Sequence[str] = ()
    """``KEY=A,B``: a cell for each value, or for each pair of values of two keys …"""
    seeds: int | None = None
    """Seeds from 0; None: 1 if quick, else 3."""
    quick: bool = False
    runs: Path = Path("runs/benchmarks")
    results: Path | None = None
    """Folder of the folders of results; None: ``results`` in the folder of the runs."""
    jobs: int = 1

    @property
    def runs_folder(self) -> Path:
        return self.runs / "quick" if self.quick else self.runs

    def results_folder(self, name: str) -> Path:
        """The folder of the results of a suite, whose published results are in a folder called ``name``."""
        return (self.results or self.runs_folder / "results") / name


@dataclass(frozen=True)
class Plan:
    """The cells of an order, all of which can be measured."""

    suite: Suite
    order: Order
    cells: dict[Cell, str] = field(default_factory=dict)
    """With the name of the result of each."""


def planned(suite: Suite, order: Order) -> Plan:
    """The cells of ``order``.

    Raises:
        ConfigError: something that cannot be measured, such as an environment whose package is missing.
    """
    if order.quick and order.results is not None and order.results.resolve().is_relative_to(RESULTS.resolve()):
        raise ConfigError("--quick", [f"got --results-dir {order.results}, allowed is no folder of published results"])
    cells: dict[Cell, str] = {}
    owners: dict[str, str] = {}
    for cell in _cells(suite, order):
        name = cells[cell] = suite.result_of(cell)
        if owners.setdefault(name, cell.source) != cell.source:
            problem = f"got {name} for {owners[name]} and {cell.source}, allowed is one config a name"
            raise ConfigError("name", [f"{problem}, which names the result"])
    return Plan(suite, order, cells)


def _cells(suite: Suite, order: Order) -> Iterable[Cell]:
    every = [source for group in suite.GROUPS.values() for source in group]
    named = [source for name in order.sources for source in suite.GROUPS.get(name, (name,))]
    sources = dict.fromkeys(named or (suite.QUICK if order.quick else every))
    if order.quick and (unknown := [source for source in sources if source not in suite.QUICK]):
        raise ConfigError("--quick", [f"got {', '.join(unknown)}, allowed are {', '.join(suite.QUICK)}"])
    seeds = order.seeds or (1 if order.quick else 3)
    variants = list(itertools.product(*map(_values, order.vary or suite.VARIED)))
    for source in sources:
        small = suite.QUICK.get(source, ()) if order.quick else ()
        for variant in variants:
            for seed in range(seeds):
                yield Cell(source, (*small, *order.changes), variant, seed)


def _values(varied: str) -> list[str]:
    key, equals, values = varied.partition("=")
    if not (key and equals and values):
        raise ConfigError("--vary", [f"got {varied!r}, allowed is KEY=A,B,…"])
    return [f"{key}={value}" for value in values.split(",")]


def measured(plan: Plan, console: Console) -> list[Result]:
    """The results of all cells; a result file is written again after each of its cells."""
    suite, order = plan.suite, plan.order
    runs, folder = order.runs_folder, made("--results-dir", order.results_folder(suite.FOLDER.name))
    rows: dict[str, list[Row]] = {name: [] for name in plan.cells.values()}
    results: dict[str, Result] = {}
    drawn = side_by_side(suite.measure, [(cell, runs) for cell in plan.cells], order.jobs)
    names = [cell.name for cell in plan.cells]
    watch = watched(names, drawn, Forecast({}), console, order.jobs, lambda: underway(runs), KEPT)
    for (cell, result), (_, row, _) in zip(plan.cells.items(), watch, strict=True):
        rows[result].append({"source": cell.source, "changes": cell.overrides, **row})
        results[result] = _result(suite, result, rows[result])
        write_json(folder / f"{result}.json", results[result])
    return list(results.values())


def made(option: str, folder: Path) -> Path:
    """``folder``, which is there now; ConfigError with the name of the option if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(option, [f"got {folder} ({error.strerror}), allowed is a folder"]) from error
    return folder


def suite_named(name: str) -> Suite:
    """The module of a suite."""
    return import_module(f"snn4.benchmarks.suites.{name}")  # type: ignore[return-value]


def _result(suite: Suite, name: str, rows: list[Row]) -> Result:
    command = shlex.join(["snn4-agent", *sys.argv[1:]])
    about = {**SCHEMA, "suite": suite.FOLDER.name, "config": name}
    return {**about, "command": command, **provenance(), "summary": suite.summary(rows), "seeds": rows}


def read_results(folder: Path) -> list[Result]:
    """The result files in ``folder``, by name; ConfigError with the name of a file that is none."""
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def _read(path: Path) -> Result:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(str(path), [f"is no result file ({error}); allowed is a file of a suite"]) from error
    if not isinstance(result, dict) or not {"config", "summary", "seeds"} <= set(result):
        raise ConfigError(str(path), ["is no result file; allowed is a file of a suite: config, summary and seeds"])
    return result
