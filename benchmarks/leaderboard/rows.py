"""The rows of the leaderboard: one for each network that a record has measured in a task, means over its seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from snn4.benchmarks.leaderboard.scores import SUITES, Scored
from snn4.benchmarks.record_schema import RecordError, repetitions
from snn4.benchmarks.records import Record

Means = dict[str, "float | None"]
NEUROBENCH = {
    "Footprint": "footprint_bytes", "ConnectionSparsity": "connection_sparsity",
    "ActivationSparsity": "activation_sparsity", "Effective_MACs": "effective_macs", "Effective_ACs": "effective_acs",
    "Dense": "dense_macs",
}  # fmt: skip
"""NeuroBench's names of metrics, and the names of the same in records."""


@dataclass(frozen=True)
class Row:
    """A network in a task. Costs are those of one decision; None where nothing was measured."""

    task: str
    """An environment, a data set, or a stream of tasks."""
    config: str
    network: str
    """SNN, ANN twin, SNN int8 …"""
    measure: str
    """return, or accuracy as a fraction."""
    seeds: tuple[int | None, ...]
    folds: bool
    """Whether the rows behind it are folds of a cross-validation."""
    mean: float
    std: float | None
    """Over seeds (n - 1); None for a single one."""
    spikes: float | None
    latency_steps: float | None
    energy_joules: Means
    """By the names of energy models."""
    energy_joules_measured: float | str | None
    """On this machine, where it can be measured."""
    parameters: float | None
    neurobench: Means
    """By NeuroBench's names."""
    neurons_counted: bool
    """Whether the energies include neurons and activation functions."""
    commits: tuple[str, ...]
    dirty: bool
    machine: str
    record: str
    """The file, below the folder of records."""

    @property
    def synaptic_operations(self) -> float | None:
        """Effective MACs and ACs."""
        found = [self.neurobench[name] for name in ("Effective_MACs", "Effective_ACs")]
        known = [value for value in found if value is not None]
        return sum(known) if known else None


def rows_of(records: Iterable[Record]) -> list[Row]:
    """The rows of all records, by task, and the best first.

    Raises:
        RecordError: a record does not hold the figures of its suite.
    """
    rows: list[Row] = []
    problems: list[str] = []
    for record in records:
        try:
            rows += _rows(record)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            what = f"{type(error).__name__}: {error}"
            problems.append(f"{record.path}: holds no figures of the suite {record.suite} ({what}), allowed are all")
    if problems:
        raise RecordError("\n".join(problems))
    return sorted(rows, key=lambda row: (row.measure != "return", row.task.lower(), -row.mean, row.config, row.network))


def _rows(record: Record) -> Iterator[Row]:
    if record.suite not in SUITES:
        return
    for name, part in repetitions(record.content):
        config = record.content["config"]
        groups: dict[tuple[str, str, str, str], list[Scored]] = {}
        for seed in part["seeds"]:
            for scored in SUITES[record.suite](name or config, seed, record.content):
                key = (scored.task, scored.config, scored.network, scored.measure)
                groups.setdefault(key, []).append(scored)
        for (task, named, network, measure), scores in groups.items():
            yield _row(task, named, network, measure, scores, part, record)


def _row(
    task: str, config: str, network: str, measure: str, scores: Sequence[Scored], part: Mapping[str, Any],
    record: Record,
) -> Row:  # fmt: skip
    costs = [scored.costs for scored in scores]
    values = [float(scored.value) for scored in scores]
    origins = [scored.seed for scored in scores]
    models = dict.fromkeys(model for cost in costs for model in cost.get("energy_joules", {}))
    machine = part["machine"]
    measured = [cost.get("energy_joules_measured") for cost in costs]
    return Row(
        task=task, config=config, network=network, measure=measure,
        seeds=tuple(origin["seed"] for origin in origins),
        folds=any("data.folds" in change for origin in origins for change in origin.get("changes", ())),
        mean=fmean(values), std=stdev(values) if len(values) > 1 else None,
        spikes=_mean(costs, "spikes_per_decision"), latency_steps=_mean(costs, "latency_steps"),
        energy_joules={model: _mean([cost.get("energy_joules", {}) for cost in costs], model) for model in models},
        energy_joules_measured=next((text for text in measured if isinstance(text, str)), None)
        or _mean(costs, "energy_joules_measured"),
        parameters=_mean(costs, "parameters"),
        neurobench={name: _mean(costs, key) for name, key in NEUROBENCH.items()},
        neurons_counted=all("neuron_macs" in cost for cost in costs),
        commits=tuple(dict.fromkeys(origin.get("commit_hash") or part["commit_hash"] for origin in origins)),
        dirty=bool(part["commit_dirty"]) or any(origin.get("commit_dirty") for origin in origins),
        machine=f"{machine['processor']}, {machine['cores']} cores", record=record.path.as_posix(),
    )  # fmt: skip


def _mean(costs: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """The mean over seeds; None unless all of them have measured it."""
    values = [cost.get(key) for cost in costs]
    known = [float(value) for value in values if value is not None and not isinstance(value, str)]
    return fmean(known) if len(known) == len(values) else None
