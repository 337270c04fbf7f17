"""Events of evolutions that nobody has lived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snn4.agent.run.events import PARENT, Began, Entered, Event, Evolved, Learned

T, WIDTH, KIND = "policy.T", "policy.net_arch.0", "policy.neuron.kind"
BORN = {T: 4, WIDTH: 64, KIND: "lif"}
ADOPTED = {T: 2, WIDTH: 12, KIND: "lif"}


def row(
    number: int, genes: Mapping[str, Any] | None = None, value: float | None = None, cost: float = 0.0,
    steps: int = 1000, stopped: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A candidate in an event; without ``value``, it has no scores yet."""
    scores = {} if value is None else {"synaptic_operations": cost, "return": value}
    return {"number": number, "genes": dict(genes or {}), "scores": scores, "steps": steps, "stopped": stopped}


def told(number: int, rows: Sequence[dict[str, Any]], genes: Mapping[str, Any], **more: Any) -> Evolved:
    """News of a generation."""
    about = {"asleep": False, "age": 1000 * (number + 1), **more}
    return Evolved("organism", "CartPole-v1", number, candidates=list(rows), genes=dict(genes), **about)


_FIRST = {0: {}, 1: {T: 8}, 2: {T: 2, WIDTH: 12}, 3: {KIND: "cuba"}}
FIRST = [
    told(0, [*(row(number, genes, steps=0) for number, genes in _FIRST.items()), row(PARENT)], BORN, asleep=True),
    told(0, [
        row(0, {}, 150.0, 2000.0, 500), row(1, _FIRST[1], 90.0, 9000.0, 500), row(2, _FIRST[2], 120.0, 40.0, 500),
        row(3, _FIRST[3], steps=500, stopped="silent: no neuron spikes"), row(PARENT, {}, 110.0, 1500.0, 0),
    ], BORN, asleep=True),
    told(0, [
        row(0, {}, 160.0, 2000.0), row(1, _FIRST[1], 90.0, 9000.0, 500), row(2, _FIRST[2], 400.0, 30.0),
        row(3, _FIRST[3], steps=500, stopped="silent: no neuron spikes"), row(PARENT, {}, 100.0, 1600.0, 0),
    ], ADOPTED, adopted=2, reason="return 100 -> 400", next_step=9000),
]  # fmt: skip
"""Candidate 3 is stopped, candidate 1 lives for half a trial, candidate 2 is adopted."""
SECOND = [
    told(1, [row(4, steps=0), row(5, {T: 1}, steps=0), row(PARENT)], ADOPTED, asleep=True),
    told(1, [row(4, {}, 380.0, 35.0), row(5, {T: 1}, 300.0, 10.0), row(PARENT, {}, 390.0, 31.0, 0)], ADOPTED,
         reason="no candidate is better beyond the noise"),
]  # fmt: skip
"""Nobody is adopted."""
STORY: list[Event] = [
    Began("x", 0, [{"environment": "CartPole-v1", "steps": 20_000}], {**BORN, "policy.readout": "rate"}, ["organism"]),
    Entered("organism", "CartPole-v1", 0, 0, 20_000),
    Learned("organism", "CartPole-v1", 0, 5000, 20_000, 5000, 100.0, [0.1], {}, seconds=1.0),
    *FIRST,
    Learned("organism", "CartPole-v1", 0, 9000, 20_000, 9000, 110.0, [0.1], {}, seconds=1.0),
    *SECOND,
]
"""The life around them."""
