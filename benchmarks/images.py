"""Classifiers of images and events: trainings for several seeds, as published in ``benchmarks/results/images/``.

    python -m snn4.benchmarks.images fashion_mnist --seeds 0 1 2 --jobs 2 threads=1
    python -m snn4.benchmarks.images nmnist --folds 5
    python -m snn4.benchmarks.images --table

Every seed, or fold of a cross-validation, has its own run folder: finished trainings are not repeated, interrupted
trainings are resumed. Weights are selected on validation data and tested once.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from snn4.agent.run.events import Learned
from snn4.agent.run.journal import read_events
from snn4.benchmarks.publishing import RESULTS, at_least, done_once, mean_and_std, publish, side_by_side, typed
from snn4.benchmarks.records import contents, data_name
from snn4.benchmarks.tables.images import table as table

IMAGES = RESULTS / "images"
LEFT_OUT = ("confusion", "classes", "config")
"""Parts of a summary that are not published, since they follow from the config or are long."""


def main() -> None:
    """Run the trainings of the command line and write one result file per config; or print the table of all results."""
    parser = argparse.ArgumentParser(description="Trainings for several seeds, SNN and ANN twin.")
    parser.add_argument("configs", nargs="*", help="names of shipped configs; and key=value, for all of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folds", type=at_least(2), help="number of parts of a cross-validation, with the first seed")
    parser.add_argument("--jobs", type=at_least(1), default=1, help="trainings that run at the same time")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--table", action="store_true", help="print the results as a Markdown table")
    arguments = parser.parse_intermixed_args()
    configs, common = typed(parser, arguments.configs)
    variants = _variants(arguments.seeds, arguments.folds)
    runs = [(name, [*common, *variant]) for name in configs for variant in variants]
    rows = list(side_by_side(train_once, [(*run, arguments.runs_dir) for run in runs], arguments.jobs))
    for typed_name, config in configs.items():
        rows_of_config = [row for (owner, _), row in zip(runs, rows, strict=True) if owner == typed_name]
        publish(IMAGES / f"{config.name}.json", "images", config.name, rows_of_config, summary(rows_of_config))
    if arguments.table:
        print(table(contents(IMAGES)))


def _variants(seeds: list[int], folds: int | None) -> list[list[str]]:
    """Changes of the config for each run."""
    if folds is None:
        return [[f"seed={seed}"] for seed in seeds]
    return [[f"seed={seeds[0]}", f"data.folds={folds}", f"data.fold={fold}"] for fold in range(folds)]


def train_once(config: str, changes: list[str], runs: Path) -> dict[str, Any]:
    """The test results and duration of one training, which is run or resumed unless it is finished in ``runs``."""
    folder = done_once(config, changes, runs)
    measured = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    fits = [event for _, event, _ in read_events(folder) if isinstance(event, Learned)]
    seconds = {name: sum(fit.seconds for fit in fits if fit.being == name) for name in {fit.being for fit in fits}}
    row = {key: value for key, value in measured.items() if key not in LEFT_OUT}
    row["early_exit"] = {key: value for key, value in row["early_exit"].items() if key != "test_curve"}
    for indicators in row["indicators"]:
        indicators.pop("layers")
    return {"changes": changes, "data": data_name(measured["config"]["data"]), "training_seconds": seconds, **row}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over seeds, for each row of the indicators and for the SNN's accuracy after each step."""
    result: dict[str, Any] = {"top1_accuracy_by_step": [
        mean_and_std(values, more_is_better=True)
        for values in zip(*(row["top1_accuracy_by_step"] for row in rows), strict=True)
    ]}  # fmt: skip
    for number, first in enumerate(rows[0]["indicators"]):
        same = [row["indicators"][number] for row in rows]
        name = f"{first['name']} {first['precision']}"
        result[name] = {
            key: mean_and_std([row[key] for row in same], more_is_better=key.endswith("accuracy"))
            for key in ("top1_accuracy", "top5_accuracy", "spikes_per_decision", "effective_acs", "effective_macs")
            if first[key] is not None
        }
        result[name]["energy_joules"] = {
            model: mean_and_std([row["energy_joules"][model] for row in same])
            for model in first["energy_joules"]
            if all(row["energy_joules"].get(model) is not None for row in same)
        }
    return result


if __name__ == "__main__":
    main()
