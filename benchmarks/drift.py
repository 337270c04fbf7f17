"""Evolving lives in worlds that change, against the same lives without evolution, as published in
``benchmarks/results/drift/``.

    python -m snn4.benchmarks.drift drifting_cartpole --seeds 0 1 2 3 4
    python -m snn4.benchmarks.drift --table

For each seed: the life of the config, and the same life with ``evolution: null``. Both live the same number of
environment steps, in which those of trials count. Finished lives are not repeated, and interrupted lives are resumed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from snn4.agent.run.beings import ORGANISM
from snn4.agent.run.events import Evaluated, Event, Score
from snn4.agent.run.journal import read_events
from snn4.benchmarks.publishing import RESULTS, done_once, interval, publish, typed
from snn4.benchmarks.records import contents
from snn4.benchmarks.tables.drift import table as table

DRIFT = RESULTS / "drift"
ALONE = ("ann_twin=false", "relu_twin=false")
MEASURES: dict[str, Callable[[Score], float]] = {
    "return_mean": lambda score: score["return_mean"],
    "synaptic_operations": lambda score: score["effective_acs"] + score["effective_macs"],
}


def main() -> None:
    """Run the lives of the command line and write one result file per config; or print the table of all results."""
    parser = argparse.ArgumentParser(description="Evolving lives against lives without evolution.")
    parser.add_argument("configs", nargs="*", help="names of shipped lives; and key=value, for all of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--table", action="store_true", help="print the results as a Markdown table")
    arguments = parser.parse_intermixed_args()
    configs, changes = typed(parser, arguments.configs)
    for name, config in configs.items():
        rows = [compared(name, [*changes, *ALONE, f"seed={seed}"], arguments.runs_dir) for seed in arguments.seeds]
        publish(DRIFT / f"{config.name}.json", "drift", config.name, rows, summary(rows))
    if arguments.table:
        print(table(contents(DRIFT)))


def compared(config: str, changes: list[str], runs: Path) -> dict[str, Any]:
    """Both lives of one seed."""
    evolving, awake = done_once(config, changes, runs), done_once(config, [*changes, "evolution=null"], runs)
    found = json.loads((evolving / "summary.json").read_text(encoding="utf-8"))
    return {
        **{key: found[key] for key in ("seed", "commit_hash")},
        **{name: life(_events(folder)) for name, folder in (("evolving", evolving), ("awake", awake))},
        "generations": found["evolution"]["generations"],
        "adopted": len(found["evolution"]["adopted"]),
        "genes": found["evolution"]["genes"],
    }


def _events(folder: Path) -> Iterable[Event]:
    return (event for _, event, _ in read_events(folder))


def life(events: Iterable[Event]) -> dict[str, float]:
    """Means over the whole life, its age in the end, and means of the test over all worlds of the life.

    Between two validations, the return in the present task is taken to change evenly. While the organism sleeps, its
    own return counts, not those of candidates.
    """
    evaluated = [event for event in events if isinstance(event, Evaluated) and event.being == ORGANISM]
    tests = [score for event in evaluated if event.part == "test" for score in event.scores.values()]
    validations = [
        (event.age, event.scores[event.task])
        for event in evaluated
        if event.part == "validation" and event.task in event.scores
    ]
    ages = np.array([age for age, _ in validations], float)
    found = {"age": float(ages[-1])}
    for name, measure in MEASURES.items():
        values = np.array([measure(score) for _, score in validations])
        found[name] = float(np.trapezoid(values, ages) / (ages[-1] - ages[0]))
        found[f"tested_{name}"] = float(np.mean([measure(score) for score in tests]))
    return found


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and paired differences, with 95 % intervals."""
    found: dict[str, Any] = {}
    for name in (*MEASURES, *(f"tested_{name}" for name in MEASURES)):
        evolving, awake = ([row[kind][name] for row in rows] for kind in ("evolving", "awake"))
        differences = [a - b for a, b in zip(evolving, awake, strict=True)]
        found[name] = {"evolving": interval(evolving), "awake": interval(awake), "difference": interval(differences)}
    return found


if __name__ == "__main__":
    main()
