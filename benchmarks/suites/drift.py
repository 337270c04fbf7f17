"""``snn4-agent bench drift``: evolving lives in worlds that change, against the same lives without evolution, as
published in ``benchmarks/results/drift/``.

For each seed: the life of the config, and the same life with ``evolution: null``. Both live the same number of
environment steps, in which those of trials count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import trapezoid

from snn4.agent.config.file import ConfigError
from snn4.agent.run.beings import ORGANISM
from snn4.agent.run.events import Evaluated, Event, Score
from snn4.agent.run.journal import read_events
from snn4.benchmarks.publishing import RESULTS, done_once, interval
from snn4.benchmarks.suites.checks import ready
from snn4.benchmarks.suites.suite import Cell
from snn4.benchmarks.tables.drift import table as table

FOLDER = DRIFT = RESULTS / "drift"
GROUPS = {"drift": ("drifting_cartpole", "drifting_lander")}
QUICK = {
    "drifting_cartpole": (
        "world.0.steps=1024", "world.1.steps=1024", "world.2.steps=512", "world.3.steps=512", "world.4.steps=512",
        "evaluation={every: 256, episodes: 3, test_episodes: 5}",
        "evolution={every: 768, population: 2, trial: 64, episodes: 4}",
    )
}  # fmt: skip
VARIED: Sequence[str] = ()
ALONE = ("ann_twin=false", "relu_twin=false")
MEASURES: dict[str, Callable[[Score], float]] = {
    "return_mean": lambda score: score["return_mean"],
    "synaptic_operations": lambda score: score["effective_acs"] + score["effective_macs"],
}


def result_of(cell: Cell) -> str:
    """The name of the config, with the variant."""
    config = ready(cell.source, [*cell.changes, *cell.varied, *ALONE], "life")
    if config.evolution is None:
        raise ConfigError(cell.source, ["evolution: got null, allowed is a life that evolves"])
    return f"{config.name}{cell.variant}"


def measure(cell: Cell, runs: Path) -> dict[str, Any]:
    """Both lives of one seed."""
    return compared(cell.source, [*cell.changes, *cell.varied, *ALONE, f"seed={cell.seed}"], runs)


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
        found[name] = float(trapezoid(values, ages) / (ages[-1] - ages[0]))
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
