"""Parts shared by all published measurements: runs that are done once, and result files with their origin."""

from __future__ import annotations

import json
import math
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from scipy import stats

from snn4.agent import kinds, runner
from snn4.agent.config.file import ConfigError, dump
from snn4.agent.run.provenance import provenance
from snn4.benchmarks.record_schema import SCHEMA
from snn4.benchmarks.records import RESULTS as RESULTS
from snn4.benchmarks.records import write
from snn4.benchmarks.tables.markdown import markdown as markdown
from snn4.benchmarks.tables.markdown import spread as spread

Row = TypeVar("Row")


def typed(parser: ArgumentParser, arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Configs by their typed names, and changes (key=value) for all; bad arguments end the program before any run.

    Results have the ``name`` of their config, so that names must differ.
    """
    changes = [change for change in arguments if "=" in change]
    try:
        configs = {name: kinds.load(name, changes)[1] for name in arguments if "=" not in name}
    except ConfigError as error:
        parser.error(str(error))
    if len(names := {config.name for config in configs.values()}) < len(configs):
        parser.error(
            f"name: got {', '.join(names)} for several configs, allowed is one per config, which names the result"
        )
    return configs, changes


def at_least(least: int) -> Callable[[str], int]:
    """A type for command lines: whole numbers >= ``least``."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"got {text!r}, allowed is a whole number >= {least}")
        return int(text)

    return number


def done_once(name: str | Path, changes: Sequence[str], runs: Path) -> Path:
    """The finished run folder of a config with ``changes`` below ``runs``; the run is begun or resumed if necessary."""
    kind, config = kinds.load(name, changes)
    if not (folders := _folders_of(config, runs)):
        runner.begin(kind, config, runs, quiet=True)
        folders = _folders_of(config, runs)
    elif not (folders[0] / "summary.json").is_file():
        runner.resume(folders[0], quiet=True)
    return folders[0]


def side_by_side(function: Callable[..., Row], cells: Sequence[Sequence[Any]], jobs: int) -> Iterator[Row]:
    """``function`` of the arguments in each cell, in their order, with ``jobs`` cells at a time."""
    if jobs == 1 or not cells:
        yield from (function(*cell) for cell in cells)
        return
    # Forked processes would inherit torch's threads in an unknown state.
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield from pool.map(function, *zip(*cells, strict=True))


def publish(path: Path, module: str, config: str, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """Write a record: the rows of all seeds, with their summary, command, commit and machine; all of it or nothing."""
    command = shlex.join(["python", "-m", f"snn4.benchmarks.{module}", *sys.argv[1:]])
    about = {**SCHEMA, "suite": module, "config": config}
    result = {**about, "command": command, **provenance(), "summary": summary, "seeds": rows}
    write(path, json.dumps(result, indent=1) + "\n")


def mean_and_std(values: Sequence[float], more_is_better: bool = False) -> dict[str, float | None]:
    """Mean over seeds, estimated standard deviation (n - 1; None for a single seed), and worst value."""
    worst = min(values) if more_is_better else max(values)
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std, "worst": float(worst)}


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean over seeds, half the width of its 95 % interval by Student's t (None for a single seed), least and most."""
    half = None
    if len(values) > 1:
        t = float(stats.t.ppf(0.975, len(values) - 1))
        half = t * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return {"mean": float(np.mean(values)), "interval95": half, "least": float(min(values)), "most": float(max(values))}


def _folders_of(config: Any, runs: Path) -> list[Path]:
    files = sorted(runs.glob(f"{config.name}-*/config.yaml"))
    return [path.parent for path in files if path.read_text(encoding="utf-8") == dump(config)]
