from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from snn4.agent.run.events import (
    Began,
    Compared,
    Ended,
    Entered,
    Evaluated,
    Event,
    Fitted,
    Learned,
    Noted,
    Recalled,
    Saved,
    Studied,
    Validated,
    from_json,
)

ROW = {"return_mean": 1 / 3, "energy_joules": {"45nm_fp32": 1e-9, "loihi1": None}, "spike_rates": [0.1]}
EVENTS = [
    Began("x", 3, [{"environment": "CartPole-v1", "steps": 5}], {"T": 4}, ["organism"], age=7, resumed=True),
    Entered("organism", "CartPole-v1", 0, 10, 100, {"45nm_fp32": 1e-9, "loihi1": None}),
    Learned("ann_twin", "CartPole-v1", 0, 10, 100, 10, None, [0.25], {"train/loss": 0.1}, seconds=1.5),
    Evaluated("organism", "CartPole-v1", 10, {"CartPole-v1": ROW}, best=True, final=True, seconds=0.25),
    Fitted("network", 1, 640, 1280, None, 0.5, 0.75, 1e-3, new_images=64, seconds=0.5),
    Validated("ann_twin", 1, 640, 0.9, 0.25, best=True, seconds=0.5),
    Studied("organism", 1, 0, 64, 128, 0.5, 0.75, seconds=0.5),
    Recalled("organism", 1, [0.5, 0.25], 12.5, memory_bytes=9, replay_bytes=4, seconds=0.5),
    Compared({"CartPole-v1": ROW}, {"CartPole-v1": ROW}),
    Saved("checkpoints/000001", 10, bytes=5, seconds=0.125),
    Noted("Grüße"),
    Ended("failed", 10, "why"),
]

CHANGES: dict[str, Any] = {
    "age": 11, "task": "other", "being": "other", "scores": {}, "losses": {}, "path": "", "images": 1, "loss": 9.0,
}  # fmt: skip


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_an_event_survives_the_journal(event: Event) -> None:
    written = json.loads(json.dumps(event.to_json()))
    again = from_json(written | {"time": "now", "a field of a later version": 1})
    assert again == event
    assert again.to_json() == event.to_json()  # also what equality ignores


def test_every_kind_of_event_is_tried_above() -> None:
    assert {type(event) for event in EVENTS} == set(Event.__subclasses__())


@pytest.mark.parametrize("event", [e for e in EVENTS if hasattr(e, "seconds")], ids=lambda event: event.kind)
def test_equality_ignores_the_seconds_alone(event: Event) -> None:
    assert dataclasses.replace(event, seconds=99.0) == event  # type: ignore[call-arg]
    names = {field.name for field in dataclasses.fields(event)}
    for name, value in CHANGES.items():
        if name in names:
            assert dataclasses.replace(event, **{name: value}) != event
