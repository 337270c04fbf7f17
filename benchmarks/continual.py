"""Continual learning: strategies on a stream of experiences for several seeds, SNN and ANN twin.

    snn4-agent bench continual --benchmark split-cifar10 --strategies naive,replay,ewc --seeds 5
    snn4-agent bench continual --table

A cell is a strategy with a seed and has its own run folder: finished cells are not repeated, interrupted cells are
resumed. The results are in one ``<benchmark>.json`` with all strategies by name; a call changes only its own. Published
results are in ``benchmarks/results/continual/``; only ``--results-dir`` writes there.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snn4.agent import kinds
from snn4.agent.config.file import ConfigError, find, read
from snn4.agent.evaluation.matrix import MEASURES
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.run.events import Learned, Saved
from snn4.agent.run.journal import read_events
from snn4.agent.run.provenance import provenance
from snn4.agent.run.work import OneProcess
from snn4.agent.stream.config import ContinualConfig
from snn4.benchmarks.publishing import RESULTS, done_once, interval, side_by_side
from snn4.benchmarks.record_schema import SCHEMA
from snn4.benchmarks.tables.continual import table as table

CONTINUAL = RESULTS / "continual"
"""The folder of published results."""
SUMMED_UP = (*MEASURES, "memory_bytes", "replay_bytes", "spikes_per_decision", "effective_acs", "effective_macs")
BEINGS = (NETWORK, ANN_TWIN)


def bench(
    benchmark: str, strategies: Sequence[str], seeds: Sequence[int], changes: Sequence[str], runs: Path, results: Path,
    jobs: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Run all unfinished cells, write the result file after each, and return its content.

    Args:
        benchmark: a shipped config of a stream (``split-cifar10`` is ``split_cifar10.yaml``), or a file.
        strategies: names; a name that is no strategy needs a change ``NAME:strategy.name=…``.
        seeds: of each strategy.
        changes: ``key=value`` for all strategies, ``NAME:key=value`` for one.
        runs: folder of the run folders, old and new.
        results: folder of the result file, made if it is missing.
        jobs: cells that run at the same time.

    Raises:
        ConfigError: for anything that cannot run, before anything runs.
    """
    path = _config(benchmark)
    if (kind := kinds.kind_of(*read(path)).name) != "stream":
        raise ConfigError(str(path), [f"kind: got {kind!r}, allowed is stream"])
    _check_names(benchmark, strategies, changes)
    changes_by_name = {name: changes_of(path, name, strategies, changes) for name in strategies}
    for strategy_changes in changes_by_name.values():
        stream, config = kinds.load(path, [*strategy_changes, f"seed={seeds[0]}"])
        stream.prepare(config, OneProcess())
    file = results / f"{path.stem}.json"
    _check_results(file)
    cells = [(name, path, [*changes_by_name[name], f"seed={seed}"], runs) for seed in seeds for name in strategies]
    result: dict[str, Any] = {}
    for (name, *_), row in zip(cells, side_by_side(cell_once, cells, jobs), strict=True):
        result = add(file, path.stem, name, changes_by_name[name], row)
        print(f"{name}, seed {row['seed']}: {_accuracies(row)}", file=sys.stderr)
    return result


def command(
    benchmark: str, strategies: str, seeds: int, changes: list[str], jobs: int, runs: Path, results: Path | None,
    as_json: bool, only_table: bool,
) -> None:  # fmt: skip
    """The command ``snn4-agent bench continual``. Without ``results``, results go below ``runs``, and a table shows
    `CONTINUAL`."""
    if only_table:
        published = [_read(path) for path in sorted((results or CONTINUAL).glob("*.json"))]
        print(json.dumps(published, indent=1) if as_json else table(published))
        return
    if not benchmark:
        raise ConfigError("--benchmark", ["missing; allowed is a shipped stream (split-cifar10), or a YAML file"])
    names = [name.strip() for name in strategies.split(",")]
    try:
        result = bench(benchmark, names, range(seeds), changes, runs, results or runs / "results", jobs)
    except SystemExit:  # by a signal, which the cell reports
        print("the same command resumes all cells", file=sys.stderr)
        raise
    print(json.dumps(result, indent=1) if as_json else table([result]))


def changes_of(path: Path, name: str, names: Sequence[str], changes: Sequence[str]) -> list[str]:
    """Changes of the config for the strategy ``name``: its own options, then the common changes, then its own."""
    configured = kinds.load(path)[1].strategy.name
    replacement = [f"strategy.name={name}", "strategy.options={}"] if name != configured else []
    prefixes = tuple(f"{other}:" for other in names)
    common = [change for change in changes if not change.startswith(prefixes)]
    specific = [change.removeprefix(f"{name}:") for change in changes if change.startswith(f"{name}:")]
    return ["ann_twin=true", *replacement, *common, *specific]


def cell_once(name: str, path: Path, changes: list[str], runs: Path) -> dict[str, Any]:
    """The results and durations of one cell, which is run or resumed unless it is finished in ``runs``."""
    _, config = kinds.load(path, changes)
    folder = done_once(path, changes, runs)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    events = [event for _, event, _ in read_events(folder)]
    seconds = {
        being: sum(event.seconds for event in events if isinstance(event, Learned) and event.being == being)
        for being in BEINGS
    }
    slowest = max(event.seconds for event in events if isinstance(event, Saved))
    kept = {key: summary[key] for key in ("seed", "commit_hash", "stream", *BEINGS) if key in summary}
    return {**kept, "config": _resolved(config), "learning_seconds": seconds, "slowest_checkpoint_seconds": slowest}


def add(file: Path, benchmark: str, name: str, changes: list[str], row: dict[str, Any]) -> dict[str, Any]:
    """Add a cell to the result file. Other strategies stay; other seeds of this one stay if its config is the same."""
    new = {**SCHEMA, "suite": "continual", "config": benchmark, "strategies": {}}
    result: dict[str, Any] = {**new, **(_read(file) if file.is_file() else {})}
    config, previous = row.pop("config"), result["strategies"].get(name)
    rows = previous["seeds"] if previous and previous["config"] == config else []
    if previous and not rows:
        print(f"{name}: replaces results with other settings in {file}", file=sys.stderr)
    rows = sorted([*(old for old in rows if old["seed"] != row["seed"]), row], key=lambda old: old["seed"])  # type: ignore[no-any-return]
    command = shlex.join(["snn4-agent", *sys.argv[1:]])
    result["strategies"][name] = {
        "command": command, **provenance(), "changes": changes, "config": config,
        "summary": summary(rows), "seeds": rows,
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    partial.replace(file)
    return result


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and 95 % interval over seeds, of each being and of the difference SNN - ANN twin."""
    intervals: dict[str, Any] = {}
    for being in BEINGS:
        if all(being in row for row in rows):
            keys = [key for key in SUMMED_UP if all(row[being][key] is not None for row in rows)]
            intervals[being] = {key: interval([row[being][key] for row in rows]) for key in keys}
    if ANN_TWIN in intervals:
        intervals["difference"] = {
            key: interval([row[NETWORK][key] - row[ANN_TWIN][key] for row in rows])
            for key in MEASURES
            if key in intervals[NETWORK]
        }
    return intervals


def _config(benchmark: str) -> Path:
    """The file of a benchmark; its name may have hyphens or underscores."""
    try:
        return find(benchmark)
    except ConfigError:
        return find(benchmark.replace("-", "_"))


def _read(file: Path) -> dict[str, Any]:
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(str(file), [f"is no result file ({error}); allowed is a file of bench continual"]) from error
    if not isinstance(result, dict) or "strategies" not in result:
        raise ConfigError(str(file), ["is no result file; allowed is a file of bench continual"])
    return result


def _check_results(file: Path) -> None:
    """Make the folder of results before any cell runs, and check an old result file."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("--results-dir", [f"got {file.parent} ({error.strerror}), allowed is a folder"]) from error
    if file.is_file():
        _read(file)


def _check_names(benchmark: str, names: Sequence[str], changes: Sequence[str]) -> None:
    if not names or len(set(names)) < len(names) or not all(names):
        raise ConfigError(benchmark, [f"strategies: got {','.join(names)!r}, allowed are names, each once"])
    for change in changes:
        name, colon, _ = change.partition("=")[0].partition(":")
        if colon and name not in names:
            raise ConfigError(benchmark, [f"{change}: got the strategy {name!r}, allowed are {', '.join(names)}"])
        if change.partition("=")[0].rpartition(":")[2] == "seed":
            raise ConfigError(benchmark, [f"{change}: allowed is no seed; set the number of seeds with --seeds"])


def _resolved(config: ContinualConfig) -> dict[str, Any]:
    """The config without its seed, as read back from JSON."""
    fields = {key: value for key, value in dataclasses.asdict(config).items() if key != "seed"}
    return json.loads(json.dumps(fields))  # type: ignore[no-any-return]


def _accuracies(row: dict[str, Any]) -> str:
    accuracies = [f"{100 * row[being]['average_accuracy']:.2f} %" for being in BEINGS if being in row]
    return f"average accuracy {', ANN twin '.join(accuracies)}"
