"""``snn4-agent bench export``: runs in Loihi's integers beside float, as published in ``benchmarks/results/export/``.

    snn4-agent bench export cartpole pendulum --vary bits=8,6,4 --seeds 3

Lives play their test episodes in float and on the chip, with the same seeds; classifiers see the whole test set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from snn4.agent import kinds
from snn4.agent.config.file import ConfigError
from snn4.agent.evaluation.episodes import EvaluationConfig
from snn4.agent.export.evaluating import FLOAT, LOIHI, evaluated_classifier, evaluated_policy
from snn4.agent.export.source import PolicySource, open_source
from snn4.benchmarks.publishing import RESULTS, done_once, kept
from snn4.benchmarks.suites.checks import ready
from snn4.benchmarks.suites.suite import Cell
from snn4.benchmarks.tables.export import table as table

FOLDER = EXPORT = RESULTS / "export"
GROUPS = {"lives": ("cartpole", "acrobot", "pendulum"), "images": ("digits",)}
QUICK = {"cartpole": ("world.0.steps=512", "evaluation={every: 256, episodes: 2, test_episodes: 5}")}
VARIED = ("bits=8,6,4",)
PREFIX = "bits="


def result_of(cell: Cell) -> str:
    """The name of the config; all numbers of bits are rows of one result."""
    _bits(cell)
    return str(ready(cell.source, _training(cell), kinds.load(cell.source)[0].name).name)


def _training(cell: Cell) -> list[str]:
    """All changes of the config, with the chip's neurons if they name no others."""
    changes = [change for change in cell.overrides if not change.startswith(PREFIX)]
    place = "policy" if kinds.load(cell.source)[0].name == "life" else "network"
    typed = any(change.startswith(f"{place}.neuron") for change in changes)
    return ["ann_twin=false", *([] if typed else [f"{place}.neuron=loihi"]), *changes]


def _bits(cell: Cell) -> int:
    typed = next(change.removeprefix(PREFIX) for change in (*cell.varied, *cell.changes) if change.startswith(PREFIX))
    if not typed.isdecimal() or not 2 <= int(typed) <= 8:
        raise ConfigError("--vary", [f"bits: got {typed!r}, allowed is a whole number from 2 to 8"])
    return int(typed)


def measure(cell: Cell, runs: Path) -> dict[str, Any]:
    """The run of ``cell`` in float and in integers of its bits."""
    folder, bits = done_once(cell.source, _training(cell), runs), _bits(cell)
    torch.set_num_threads(1)
    return kept(folder / f"integers-{bits}.json", lambda: measured(folder, bits))  # type: ignore[no-any-return]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Nothing beyond the rows."""
    return {}


def measured(run: Path, bits: int) -> dict[str, Any]:
    """A run in float and in integers: scores, costs, and how often they decide and spike alike."""
    source = open_source(str(run))
    _, config = kinds.load(source.folder / "config.yaml")
    keys = ["spikes_per_decision", "effective_acs"]
    with torch.no_grad():
        if isinstance(source, PolicySource):
            summary = evaluated_policy(source, bits, EvaluationConfig(test_episodes=config.evaluation.test_episodes))
            keys += ["return_mean", "return_std", "episodes"]
            about = {"environment": source.task.environment, "steps": config.world[0].steps}
        else:
            summary = evaluated_classifier(source, bits)
            keys += ["top1_accuracy"]
            about = {"data": source.data.name, "network": config.network.name}
    rows = {engine: {key: summary["rows"][engine][key] for key in keys} for engine in (FLOAT, LOIHI)}
    chip = {key: summary[key] for key in ("bits", "T", "steps_per_decision", "agreement", "saturated")}
    return {"seed": config.seed, **about, **chip, **rows}
