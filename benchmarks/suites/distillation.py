"""``snn4-agent bench distillation``: the same run with a teacher and without, for several seeds.

    snn4-agent bench distillation digits --seeds 5
    snn4-agent bench distillation cifar10 teacher.source=resnet56.th teacher.architecture=resnet-56-a
    snn4-agent bench distillation distill_lunar_lander teacher.source=runs/lunar_lander-…

A life is a source, too. The pupil, its ANN twin and the twin in int8 stand beside each other; of lives, the twin in
fp32 alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snn4.agent import kinds
from snn4.agent.config.file import ConfigError
from snn4.benchmarks.publishing import RESULTS, done_once, interval
from snn4.benchmarks.records import data_name
from snn4.benchmarks.suites.checks import ready
from snn4.benchmarks.suites.classification import SMALL
from snn4.benchmarks.suites.suite import Cell
from snn4.benchmarks.tables.distillation import table as table

FOLDER = RESULTS / "distillation"
TEACHERS = {"digits": "zoo:digits", "fashion_mnist": "zoo:fashion-mnist"}
"""Teachers of configs that name none."""
GROUPS = {"zoo": tuple(TEACHERS)}
QUICK = {"digits": SMALL}
VARIED: Sequence[str] = ()
WHO = {"SNN fp32": "SNN", "ANN fp32": "ANN twin", "ANN int8": "int8 twin"}


def result_of(cell: Cell) -> str:
    """The name of the config, with the variant."""
    config = ready(cell.source, _taught(cell), kinds.load(cell.source)[0].name)
    if getattr(config, "teacher", None) is None:
        raise ConfigError(cell.source, ["teacher: got none; name one with teacher.source=…"])
    return f"{config.name}{cell.variant}"


def _taught(cell: Cell) -> list[str]:
    """All changes, with a teacher if neither they nor the config name one."""
    typed = any(change.startswith("teacher") for change in cell.overrides)
    given = [] if typed or cell.source not in TEACHERS else [f"teacher={{source: {TEACHERS[cell.source]}}}"]
    return ["ann_twin=true", *given, *cell.overrides]


def measure(cell: Cell, runs: Path) -> dict[str, Any]:
    """Test scores with the teacher and alone, and their difference for the spiking network."""
    alone = [change for change in cell.overrides if not change.startswith("teacher")]
    folders = {
        "taught": done_once(cell.source, _taught(cell), runs),
        "alone": done_once(cell.source, ["ann_twin=true", *alone, "teacher=null"], runs),
    }
    summaries = {name: json.loads((folder / "summary.json").read_text("utf-8")) for name, folder in folders.items()}
    found = {name: scores(summary) for name, summary in summaries.items()}
    gain = found["taught"]["SNN"] - found["alone"]["SNN"]
    commit = summaries["taught"]["commit_hash"]
    return {"seed": cell.seed, "commit_hash": commit, **_task(summaries["alone"]), **found, "gain": gain}


def _task(summary: dict[str, Any]) -> dict[str, str]:
    """The data set, or the environments."""
    if "indicators" in summary:
        return {"data": data_name(summary["config"]["data"])}
    return {"environment": ", ".join(summary["tasks"])}


def scores(summary: dict[str, Any]) -> dict[str, float]:
    """Test accuracies, or mean test returns over the tasks of a life, by who was tested."""
    if "indicators" in summary:
        rows = {f"{row['name']} {row['precision']}": row["top1_accuracy"] for row in summary["indicators"]}
        return {who: rows[name] for name, who in WHO.items() if rows.get(name) is not None}
    beings = {"SNN": summary["tasks"], "ANN twin": summary["ann_twin"]}
    return {who: sum(row["return_mean"] for row in rows.values()) / len(rows) for who, rows in beings.items() if rows}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, with 95 % intervals; the gain is paired."""
    found: dict[str, Any] = {"gain": interval([row["gain"] for row in rows])}
    for name in ("taught", "alone"):
        found[name] = {who: interval([row[name][who] for row in rows]) for who in rows[0][name]}
    return found
