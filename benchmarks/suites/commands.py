"""What ``snn4-agent bench SUITE`` does: plan, measure, print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from snn4.agent.config.file import ConfigError
from snn4.benchmarks.suites import SUITES, continual
from snn4.benchmarks.suites.suite import Order, Result, made, measured, planned, read_results, suite_named

Output = tuple[Any, str]
"""Results as plain data, and as tables."""


def bench_suite(name: str, order: Order, as_json: bool, only_table: bool, figures: Path | None = None) -> None:
    """Measure what ``order`` asks of the suite ``name``, or only show its results: the published ones by default."""
    suite = suite_named(name)
    if only_table:
        folder = suite.FOLDER if order.results is None else order.results_folder(suite.FOLDER.name)
        results = read_results(folder)
    else:
        if figures is not None:
            made("--figures", figures)
        results = _resumable(lambda: measured(planned(suite, order), Console(stderr=True)))
    show((results, suite.table(results)), as_json)
    if figures is not None:
        for path in suite.figures(results, figures):  # type: ignore[attr-defined]
            print(path, file=sys.stderr)


def bench_continual(order: Order, benchmark: str, strategies: str, as_json: bool, only_table: bool) -> None:
    """Compare strategies, or only show results."""
    if only_table:
        folder = continual.FOLDER if order.results is None else order.results_folder(continual.FOLDER.name)
        results = [continual.read_result(path) for path in sorted(folder.glob("*.json"))]
        show((results, continual.table(results)), as_json)
        return
    show(_resumable(_continual(order, benchmark, strategies)), as_json)


def bench_all(order: Order, rounds: int, as_json: bool) -> None:
    """Measure all suites; nothing begins before it is clear that everything can."""
    jobs: dict[str, Callable[[], Output]] = {}
    problems = []
    for name in SUITES:
        try:
            jobs[name] = _prepared(name, order, rounds)
        except ValueError as error:  # ConfigError, and what says which peers are missing
            problems += [f"{name}: {line}" for line in str(error).splitlines()]
    if problems:
        raise ConfigError("bench all", problems)
    outputs = {}
    for number, (name, job) in enumerate(jobs.items()):
        print(f"{name}: suite {number + 1} of {len(jobs)}", file=sys.stderr)
        outputs[name] = _resumable(job)
    text = "\n\n".join(f"## {name}\n\n{table}" for name, (_, table) in outputs.items())
    show(({name: results for name, (results, _) in outputs.items()}, text), as_json)


def _prepared(name: str, order: Order, rounds: int) -> Callable[[], Output]:
    if name == "speed":
        return _speed(order, rounds)
    if name == "continual":
        return _continual(order, "split_digits", "naive,replay")
    suite = suite_named(name)
    plan = planned(suite, order)

    def job() -> Output:
        results: list[Result] = measured(plan, Console(stderr=True))
        return results, suite.table(results)

    return job


def _continual(order: Order, benchmark: str, strategies: str) -> Callable[[], Output]:
    if not benchmark and not order.quick:
        problem = "missing; allowed is a shipped stream (split-cifar10), or a YAML file"
        raise ConfigError("--benchmark", [problem])
    names, seeds = [name.strip() for name in strategies.split(",")], range(order.seeds or (1 if order.quick else 5))
    changes = [*(continual.QUICK if order.quick else ()), *order.changes]
    where = order.runs_folder, order.results_folder(continual.FOLDER.name)
    comparison = continual.compared(benchmark or "split_digits", names, seeds, changes, *where)

    def job() -> Output:
        result = continual.bench(comparison, order.jobs)
        return result, continual.table([result])

    return job


def _speed(order: Order, rounds: int) -> Callable[[], Output]:
    from snn4.benchmarks import speed  # imports the peers' networks

    only = "act mlp" if order.quick else ""
    speed.chosen_sections(only)

    def job() -> Output:
        result = speed.speed(1 if order.quick else rounds, only, order.results_folder("speed"))
        return result, speed.table(result["rows"])

    return job


def show(output: Output, as_json: bool) -> None:
    """Print a table, or everything as JSON."""
    results, table = output
    print(json.dumps(results, indent=1) if as_json else table)


def _resumable(job: Callable[[], Any]) -> Any:
    try:
        return job()
    except SystemExit:  # by a signal, which the run reports
        print("the same command resumes all cells", file=sys.stderr)
        raise
