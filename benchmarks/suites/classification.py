"""``snn4-agent bench classification``: trainings for several seeds, as published in ``benchmarks/results/images/``.

    snn4-agent bench classification fashion_mnist --seeds 3 --jobs 2 threads=1
    snn4-agent bench classification nmnist data.folds=5 --vary data.fold=0,1,2,3,4 --seeds 1

Every seed, or fold of a cross-validation, has its own run folder. Weights are selected on validation data and tested
once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snn4.agent.run.events import Learned
from snn4.agent.run.journal import read_events
from snn4.benchmarks.publishing import RESULTS, done_once, mean_and_std
from snn4.benchmarks.records import data_name
from snn4.benchmarks.suites.checks import ready
from snn4.benchmarks.suites.suite import Cell
from snn4.benchmarks.tables.images import table as table

FOLDER = IMAGES = RESULTS / "images"
GROUPS = {
    "images": ("digits", "mnist", "fashion_mnist", "cifar10"),
    "events": ("nmnist", "dvs128_gesture"),
    "spikformer": ("spikformer_fashion_mnist", "spikformer_cifar10"),
}
SMALL = (
    "data.limit=1000", "training.epochs=6", "training.ema=0", "network.T=2", "network.options.channels=[8,16]",
    "threads=1",
)  # fmt: skip
"""Changes that make `digits` a matter of seconds."""
QUICK = {"digits": (*SMALL, "ann_twin=true")}
VARIED: Sequence[str] = ()
LEFT_OUT = ("confusion", "classes", "config")
"""Parts of a summary that are not published, since they follow from the config or are long."""
FOLD = "data.fold="


def result_of(cell: Cell) -> str:
    """The name of the config, with the variant; the folds of a cross-validation share one."""
    config = ready(cell.source, cell.overrides, "training")
    folds = tuple(change for change in cell.varied if not change.startswith(FOLD))
    return f"{config.name}{Cell(cell.source, varied=folds).variant}"


def measure(cell: Cell, runs: Path) -> dict[str, Any]:
    """The test results and duration of one training."""
    return train_once(cell.source, cell.overrides, runs)


def train_once(config: str, changes: Sequence[str], runs: Path) -> dict[str, Any]:
    """The test results and duration of one training, which is run or resumed unless it is finished in ``runs``."""
    folder = done_once(config, changes, runs)
    measured = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    fits = [event for _, event, _ in read_events(folder) if isinstance(event, Learned)]
    seconds = {name: sum(fit.seconds for fit in fits if fit.being == name) for name in {fit.being for fit in fits}}
    row = {key: value for key, value in measured.items() if key not in LEFT_OUT}
    row["early_exit"] = {key: value for key, value in row["early_exit"].items() if key != "test_curve"}
    for indicators in row["indicators"]:
        indicators.pop("layers")
    data = data_name(measured["config"]["data"])
    return {"changes": list(changes), "data": data, "training_seconds": seconds, **row}


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
