"""``snn4-agent bench evolution``: evolution against hand-set genes and random search, as published in
``benchmarks/results/evolution/``.

    snn4-agent bench evolution cartpole acrobot --seeds 5 evolving:world.0.steps=100000

For each seed: the life of the config at its own T, at T = 1 and at T = 2; then a life that starts from the first one's
weights and evolves, and the same with random search. All are tested on the same test episodes. A change that begins
with ``evolving:`` is one of the evolving lives alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snn4.agent import kinds
from snn4.agent.evolution.front import hypervolume
from snn4.agent.run.events import Entered
from snn4.agent.run.journal import read_events
from snn4.benchmarks.publishing import RESULTS, done_once, mean_and_std
from snn4.benchmarks.suites.checks import ready
from snn4.benchmarks.suites.suite import Cell
from snn4.benchmarks.tables.evolution import SHOWN
from snn4.benchmarks.tables.evolution import table as table

FOLDER = EVOLUTION = RESULTS / "evolution"
GROUPS = {"evolution": ("cartpole", "acrobot")}
PREFIX = "evolving:"
QUICK = {
    "cartpole": (
        "world.0.steps=512", "evaluation={every: 256, episodes: 2, test_episodes: 5}",
        "evolving:world.0.steps=1500", "evolving:evolution={every: 256, population: 2, trial: 64, episodes: 4}",
    )
}  # fmt: skip
VARIED: Sequence[str] = ()
EVOLVING = (
    "world.0.steps=100000", "evolution={every: 2000, population: 8, trial: 1000}",
    "learner.hyperparameters.learning_rate=lin_1e-4", "evaluation.every=20000",
)  # fmt: skip
"""Changes of the evolving lives, which are mostly asleep: the organism has learned before."""
HAND_SET = (1, 2)
"""Inner steps beside those of the config."""
MODELS = ("45nm_fp32_memory", "45nm_int8_memory")


def result_of(cell: Cell) -> str:
    """The name of the config, with the variant."""
    own, _ = split(cell)
    return f"{ready(cell.source, own, 'life').name}{cell.variant}"


def measure(cell: Cell, runs: Path) -> dict[str, Any]:
    """All lives of one seed."""
    own, evolving = split(cell)
    name, alone = ready(cell.source, own, "life").name, [*own, "ann_twin=false", "relu_twin=false"]
    born = done_once(cell.source, alone, runs)
    hand_set = {f"T={kinds.load(cell.source, alone)[1].policy.T}": _test(born)}
    for T in HAND_SET:
        hand_set[f"T={T}"] = _test(done_once(cell.source, [*alone, f"policy.T={T}", f"name={name}_T{T}"], runs))
    more = [*alone, f"policy.initial={born}", *EVOLVING, *evolving]
    evolved = done_once(cell.source, [*more, f"name={name}_evolving"], runs)
    random = done_once(cell.source, [*more, "evolution.sampler=random", f"name={name}_random"], runs)
    return _row(born, hand_set, evolved, random)


def split(cell: Cell) -> tuple[list[str], list[str]]:
    """Changes of all lives, and those of evolving lives alone (``evolving:key=value``)."""
    evolving = [change.removeprefix(PREFIX) for change in cell.overrides if change.startswith(PREFIX)]
    return [change for change in cell.overrides if not change.startswith(PREFIX)], evolving


def _row(born: Path, hand_set: dict[str, Any], evolved: Path, random: Path) -> dict[str, Any]:
    tested = {
        name: _summary(folder)["evolution"]["tested"] for name, folder in (("evolved", evolved), ("random", random))
    }
    first = next(event for _, event, _ in read_events(born) if isinstance(event, Entered))
    return {
        **{key: _summary(evolved)[key] for key in ("seed", "commit_hash")},
        "environment": next(iter(_summary(evolved)["tasks"])),
        "hand_set": hand_set,
        "evolved": _test(evolved),
        "random": _test(random),
        "genes": _summary(evolved)["evolution"]["genes"],
        "genes_at_birth": _summary(evolved)["evolution"]["genes_at_birth"],
        "ann_energy_joules": first.ann_energy_joules,
        "trials": {name: len(rows) for name, rows in tested.items()},
        "hypervolume": _volumes(tested),
    }


def _summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _test(folder: Path) -> dict[str, Any]:
    """The test of the life in ``folder``, in its only task."""
    (row,) = _summary(folder)["tasks"].values()
    return {**row, "synaptic_operations": row["effective_acs"] + row["effective_macs"]}


def _volumes(tested: dict[str, list[dict[str, Any]]]) -> dict[str, list[float]]:
    """Hypervolume after each generation, in return times decades of operations, from the worst values of all."""
    points = {
        name: [(row["generation"], row["return"], math.log10(max(row["synaptic_operations"], 1.0))) for row in rows]
        for name, rows in tested.items()
    }
    everyone = [point for rows in points.values() for point in rows]
    worst = min(value for _, value, _ in everyone), max(cost for *_, cost in everyone)
    return {
        name: [
            hypervolume([(value, cost) for born, value, cost in rows if born <= generation], worst)
            for generation in range(max(born for born, *_ in rows) + 1)
        ]
        for name, rows in points.items()
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and spreads over seeds, and what evolution has saved."""
    tests = {
        "shipped": [next(iter(row["hand_set"].values())) for row in rows],
        "best hand-set": [min(_close(row["hand_set"]), key=lambda test: test["synaptic_operations"]) for row in rows],
        "evolved": [row["evolved"] for row in rows],
        "random": [row["random"] for row in rows],
    }
    volumes = [{name: found[-1] for name, found in row["hypervolume"].items()} for row in rows]
    return {
        **{
            name: {key: mean_and_std([test[key] for test in found], key == "return_mean") for key in SHOWN}
            for name, found in tests.items()
        },
        "saved": {name: _saved(tests["evolved"], tests[name]) for name in ("shipped", "best hand-set", "random")},
        "hypervolume above random": sum(volume["evolved"] > volume["random"] for volume in volumes),
        "energy of the ANN's": {model: mean_and_std([_share(row, model) for row in rows]) for model in MODELS},
    }


def _share(row: dict[str, Any], model: str) -> float:
    """Joules of the evolved policy, as a fraction of those of an ANN with the widths of the config."""
    return float(row["evolved"]["energy_joules"][model] / row["ann_energy_joules"][model])


def _close(hand_set: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Tests whose return is at most 1 % below the best."""
    best = max(test["return_mean"] for test in hand_set.values())
    return [test for test in hand_set.values() if test["return_mean"] >= best - 0.01 * abs(best)]


def _saved(tests: list[dict[str, Any]], before: list[dict[str, Any]]) -> dict[str, Any]:
    """Fraction of the operations ``before``."""
    pairs = zip(tests, before, strict=True)
    return mean_and_std([1 - test["synaptic_operations"] / other["synaptic_operations"] for test, other in pairs], True)
