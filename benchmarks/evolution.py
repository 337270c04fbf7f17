"""Evolution against hand-set genes and random search, as published in ``benchmarks/results/evolution/``.

    python -m snn4.benchmarks.evolution cartpole acrobot --seeds 0 1 2 3 4 --steps 100000
    python -m snn4.benchmarks.evolution --table

For each seed: the life of the config at its own T, at T = 1 and at T = 2; then a life that starts from the first one's
weights and evolves for ``--steps``, and the same with random search. All are tested on the same test episodes. Finished
lives are not repeated, and interrupted lives are resumed.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from snn4.agent.evolution.front import hypervolume
from snn4.agent.run.events import Entered
from snn4.agent.run.journal import read_events
from snn4.benchmarks.publishing import RESULTS, at_least, done_once, mean_and_std, publish, typed
from snn4.benchmarks.records import contents
from snn4.benchmarks.tables.evolution import SHOWN
from snn4.benchmarks.tables.evolution import table as table

EVOLUTION = RESULTS / "evolution"
EVOLVING = "{every: 2000, population: 8, trial: 1000}"
"""Mostly asleep: the organism has learned before."""
HAND_SET = (1, 2)
"""Inner steps beside those of the config."""
MODELS = ("45nm_fp32_memory", "45nm_int8_memory")


def main() -> None:
    """Run the lives of the command line and write one result file per config; or print the table of all results."""
    parser = argparse.ArgumentParser(description="Evolving lives against hand-set ones and random search.")
    parser.add_argument("configs", nargs="*", help="names of shipped lives; and key=value, for all of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=at_least(1), default=100_000, help="environment steps of evolving lives")
    parser.add_argument("--evolution", default=EVOLVING, help="their evolution, as in a config")
    parser.add_argument("--rate", default="lin_1e-4", help="their learning rate")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--table", action="store_true", help="print the results as a Markdown table")
    arguments = parser.parse_intermixed_args()
    configs, changes = typed(parser, arguments.configs)
    for name, config in configs.items():
        rows = [compared(name, [*changes, f"seed={seed}"], config, arguments) for seed in arguments.seeds]
        publish(EVOLUTION / f"{config.name}.json", "evolution", config.name, rows, summary(rows))
    if arguments.table:
        print(table(contents(EVOLUTION)))


def compared(config: str, changes: list[str], checked: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """All lives of one seed."""
    runs, alone = arguments.runs_dir, [*changes, "ann_twin=false", "relu_twin=false"]
    born = done_once(config, alone, runs)
    own = checked.policy.T
    hand_set = {f"T={own}": _test(born)}
    for T in HAND_SET:
        hand_set[f"T={T}"] = _test(done_once(config, [*alone, f"policy.T={T}", f"name={checked.name}_T{T}"], runs))
    more = [*alone, f"policy.initial={born}", f"evolution={arguments.evolution}", f"world.0.steps={arguments.steps}"]
    more += [f"learner.hyperparameters.learning_rate={arguments.rate}", "evaluation.every=20000"]
    evolved = done_once(config, [*more, f"name={checked.name}_evolving"], runs)
    random = done_once(config, [*more, "evolution.sampler=random", f"name={checked.name}_random"], runs)
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


if __name__ == "__main__":
    main()
