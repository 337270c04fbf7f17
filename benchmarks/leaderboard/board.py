"""The leaderboard as Markdown and as JSON, and README's table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from snn4.benchmarks.leaderboard.anchors import Anchor
from snn4.benchmarks.leaderboard.rows import Row
from snn4.benchmarks.record_schema import SCHEMA
from snn4.benchmarks.records import Record
from snn4.benchmarks.tables.markdown import markdown

INTRODUCTION = """\
# Leaderboard

<!-- Written by `snn4-agent leaderboard` from benchmarks/results/ and benchmarks/anchors.json. Do not edit. -->

A row is one network of one record, the best of each task first: mean ± standard deviation over seeds of the test, and
the mean cost of a decision. [The leaderboard](../docs/leaderboard.md) explains the columns, and how to submit a result.

- **quoted** rows are figures of others, with their sources. Nothing of them was measured here.
- `*` behind a commit: files had been changed and not yet committed. † behind an energy: it leaves out neurons and
  activation functions. Records from before the indicators were complete have blanks.
- Energies follow models at 45 nm (Horowitz 2014). "+ memory" adds all memory traffic. The measured energy is that of a
  decision on the machine in the row.
"""
HEAD = ["network", "config", "seeds", "score", "spikes", "synaptic operations", "steps", "fp32", "fp32 + memory",
        "int8", "int8 + memory", "measured", "parameters", "footprint", "sparsity", "commit", "machine"]  # fmt: skip
MODELS = ("45nm_fp32", "45nm_fp32_memory", "45nm_int8", "45nm_int8_memory")
CHAPTERS = {"return": "Control: mean returns", "accuracy": "Classification and streams: accuracies in percent"}
SHOWN = (
    ("CartPole-v1", "cartpole"), ("Acrobot-v1", "acrobot"), ("LunarLander-v3", "lunar_lander"),
    ("cifar10", "cifar10"), ("fashion-mnist", "fashion_mnist_twin"), ("split_cifar10", "replay-distilled"),
)  # fmt: skip
"""Task and config of each row in README's table."""
STRATEGIES = ("replay-distilled",)
ENGLISH = ("task", "seeds", "SNN", "ANN twin", "best figure of others", "SNN energy", "twin's energy", "not trained")
JAPANESE = (
    "タスク",
    "シード数",
    "SNN",
    "ANN ツイン",
    "他の手法の最良値",
    "SNN のエネルギー",
    "ツインのエネルギー",
    "未学習",
)
"""The head of README's table, and what stands for a network that was not trained."""


def board(rows: Sequence[Row], anchors: Sequence[Anchor], records: Iterable[Record]) -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for measure, title in CHAPTERS.items():
        parts.append(f"## {title}\n")
        ours = [row for row in rows if row.measure == measure]
        quoted = [anchor for anchor in anchors if anchor.measure == measure]
        tasks = {*(row.task for row in ours), *(anchor.task for anchor in quoted)}
        for task in sorted(tasks, key=str.lower):
            lines = [(row.mean, _line(row)) for row in ours if row.task == task]
            lines += [(anchor.value, _quoted(anchor)) for anchor in quoted if anchor.task == task]
            lines.sort(key=lambda line: -line[0])  # stable: measured rows stand before quoted ones of the same value
            parts.append(f"### {task}\n\n{markdown(HEAD, [line for _, line in lines])}\n")
    parts.append(f"## Measurements without a score\n\n{_without_score(rows, records)}\n")
    return "\n".join(parts)


def as_json(rows: Sequence[Row], anchors: Sequence[Anchor]) -> str:
    """Everything on the page, with all digits that mean something."""
    content = {**SCHEMA, "rows": [asdict(row) for row in rows], "quoted": [asdict(anchor) for anchor in anchors]}
    return json.dumps(_rounded(content), indent=1) + "\n"


def first_rows(rows: Sequence[Row], anchors: Sequence[Anchor], words: Sequence[str] = ENGLISH) -> str:
    """README's table: a few spiking networks beside their twins and the best figure of others."""
    *head, untrained = words
    return markdown(head, [_first_row(task, config, rows, anchors, untrained) for task, config in SHOWN])


def _first_row(task: str, config: str, rows: Sequence[Row], anchors: Sequence[Anchor], untrained: str) -> list[str]:
    snn, twin = (
        next((row for row in rows if (row.task, row.config, row.network) == (task, config, network)), None)
        for network in ("SNN", "ANN twin")
    )
    best = next((anchor for anchor in anchors if anchor.task == task), None)
    return [
        f"{task}, {config}" if config in STRATEGIES else task, str(len(snn.seeds)) if snn else "",
        *(untrained if row is None else _score(row) for row in (snn, twin)), _figure(best) if best else "",
        *(_energy(row, MODELS[0]) for row in (snn, twin)),
    ]  # fmt: skip


def _line(row: Row) -> list[str]:
    seeds = f"{len(row.seeds)} folds" if row.folds else str(len(row.seeds))
    measured = row.energy_joules_measured
    return [
        row.network, row.config, seeds, _score(row), _number(row.spikes), _number(row.synaptic_operations),
        _number(row.latency_steps), *(_energy(row, model) for model in MODELS),
        measured if isinstance(measured, str) else _joules(measured), _number(row.parameters),
        _bytes(row.neurobench["Footprint"]), _sparsity(row),
        ", ".join(commit[:7] for commit in row.commits) + ("*" if row.dirty else ""), row.machine,
    ]  # fmt: skip


def _quoted(anchor: Anchor) -> list[str]:
    method = f"quoted: {anchor.network}, {anchor.method}"
    source = f"[{anchor.source}]({anchor.url})" + (
        "" if anchor.read_in == "primary repository" else f", {anchor.read_in}"
    )
    about = "; ".join(text for text in (source, anchor.note) if text)
    return [method, about, "", _value(anchor.measure, anchor.value), *[""] * (len(HEAD) - 4)]


def _figure(anchor: Anchor) -> str:
    return f"{_value(anchor.measure, anchor.value)} ({anchor.method})"


def _without_score(rows: Sequence[Row], records: Iterable[Record]) -> str:
    scored = {row.record for row in rows}
    lines = [
        [record.path.as_posix(), f"`{record.content['command']}`", record.content["commit_hash"][:7]]
        for record in records
        if record.path.as_posix() not in scored
    ]
    return markdown(["record", "command", "commit"], lines)


def _score(row: Row) -> str:
    spread = "" if row.std is None else f" ± {_value(row.measure, row.std)}"
    return f"{_value(row.measure, row.mean)}{spread}"


def _value(measure: str, value: float) -> str:
    return f"{value:.1f}" if measure == "return" else f"{100 * value:.2f}"


def _energy(row: Row | None, model: str) -> str:
    joules = None if row is None else row.energy_joules.get(model)
    dagger = "" if row is None or joules is None or row.neurons_counted else "†"
    return f"{_joules(joules)}{dagger}"


def _joules(value: float | None) -> str:
    """``2.66 nJ``, ``195 µJ``: three digits."""
    if value is None:
        return ""
    unit, factor = next(((unit, factor) for unit, factor in _UNITS if value < 999.5 * factor), _UNITS[-1])
    return f"{_digits(value / factor)} {unit}"


_UNITS = (("pJ", 1e-12), ("nJ", 1e-9), ("µJ", 1e-6), ("mJ", 1e-3), ("J", 1.0))


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 99.95 or value == int(value) else f"{value:.1f}"


def _bytes(value: float | None) -> str:
    return "" if value is None else f"{value / 1e6:.2f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"


def _sparsity(row: Row) -> str:
    """Of activations and of connections."""
    found = [row.neurobench[name] for name in ("ActivationSparsity", "ConnectionSparsity")]
    return " / ".join("" if value is None else f"{100 * value:.0f} %" for value in found) if any(found) else ""


def _rounded(value: Any) -> Any:
    """Floats of six digits: sums may round differently on other processors."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
