from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from evolutions import FIRST

from snn4.agent.run.events import (
    EVENTS,
    Began,
    Compared,
    Ended,
    Entered,
    Evaluated,
    Event,
    Learned,
    Noted,
    Saved,
    from_json,
)

ROW = {"return_mean": 1 / 3, "energy_joules": {"45nm_fp32": 1e-9, "loihi1": None}, "spike_rates": [0.1]}
TASKS: Any = [{"environment": "CartPole-v1", "steps": 5}]
EXAMPLES = [
    Began("x", 3, TASKS, {"T": 4}, ["organism"], age=7, resumed=True, unit="images", measure="accuracy"),
    Entered("organism", "CartPole-v1", 0, 10, 100, {"45nm_fp32": 1e-9, "loihi1": None}),
    Learned("ann_twin", "CartPole-v1", 0, 10, 100, 10, None, [0.25], {"loss": 0.1}, seconds=1.5, epoch=2, T=4),
    Evaluated("organism", "CartPole-v1", 10, {"CartPole-v1": ROW}, True, "test", 1, 9, 4, seconds=0.25),
    dataclasses.replace(FIRST[-1], seconds=2.5),
    Compared({"CartPole-v1": ROW}, {"CartPole-v1": ROW}),
    Saved("checkpoints/000001", 10, bytes=5, seconds=0.125),
    Noted("Grüße"),
    Ended("failed", 10, "why"),
]
CHANGES: dict[str, Any] = {"age": 11, "task": "other", "being": "other", "scores": {}, "losses": {}, "path": ""}


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.event)
def test_an_event_survives_the_journal(event: Event) -> None:
    written = json.loads(json.dumps(event.to_json()))
    again = from_json(written | {"time": "now", "a field of a later version": 1})
    assert again == event
    assert again.to_json() == event.to_json()  # also what equality ignores


def test_every_event_is_tried_above() -> None:
    assert {type(event) for event in EXAMPLES} == set(Event.__subclasses__()) == set(EVENTS.values())


@pytest.mark.parametrize("event", [e for e in EXAMPLES if hasattr(e, "seconds")], ids=lambda event: event.event)
def test_equality_ignores_the_seconds_alone(event: Event) -> None:
    assert dataclasses.replace(event, seconds=99.0) == event  # type: ignore[call-arg]
    names = {field.name for field in dataclasses.fields(event)}
    for name, value in CHANGES.items():
        if name in names:
            assert dataclasses.replace(event, **{name: value}) != event


BEGAN = {"event": "began", "name": "x", "seed": 3, "tasks": TASKS, "genome": {"T": 4}, "age": 7, "resumed": True}
EVALUATED = {"event": "evaluated", "being": "organism", "task": "t", "age": 10, "scores": {"t": ROW}, "best": True}
STREAM = {"stream": {"average_accuracy": 0.5, "forgetting": 0.25, "matrix": [[0.5]]}}
AVERAGE = {"stream": {**STREAM["stream"], "return_mean": 0.5, "energy_joules": {}}}
OLD: list[tuple[dict[str, Any], Event]] = [
    ({**BEGAN, "beings": ["organism", "ann_twin"]}, Began("x", 3, TASKS, {"T": 4}, ["organism", "ann_twin"], 7, True)),
    (
        {**BEGAN, "beings": ["network"]},
        Began("x", 3, TASKS, {"T": 4}, ["network"], 7, True, unit="images", measure="accuracy"),
    ),
    (
        {"event": "entered", "being": "organism", "task": "t", "number": 0, "step": 0, "steps": 9,
         "ann_energy_joules": {}},
        Entered("organism", "t", 0, 0, 9),
    ),
    (
        {"event": "learned", "being": "organism", "task": "t", "number": 0, "step": 4, "steps": 9, "age": 4,
         "episode_return": None, "spike_rates": [0.5], "losses": {"train/loss": 1.0}, "seconds": 2.0},
        Learned("organism", "t", 0, 4, 9, 4, None, [0.5], {"train/loss": 1.0}, seconds=2.0),
    ),
    (
        {**EVALUATED, "final": False, "seconds": 2.0},
        Evaluated("organism", "t", 10, {"t": ROW}, True, "validation", seconds=2.0),
    ),
    # How many tasks were over is not told; all were.
    ({**EVALUATED, "final": True}, Evaluated("organism", "t", 10, {"t": ROW}, True, "test", 1_000_000)),
    (
        {"event": "fitted", "being": "network", "epoch": 1, "images": 64, "total": 128, "T": 4, "loss": 0.5,
         "accuracy": 0.75, "learning_rate": 1e-3, "new_images": 32, "seconds": 0.5},
        Learned("network", "", 0, 64, 128, 64, 0.75, [], {"loss": 0.5, "learning_rate": 1e-3}, 0.5, epoch=1, T=4),
    ),
    (
        {"event": "validated", "being": "ann_twin", "epoch": 2, "images": 64, "top1": 0.75, "loss": 0.5, "best": True,
         "seconds": 0.5},
        Evaluated("ann_twin", "", 64, {"": {"return_mean": 0.75, "loss": 0.5}}, True, number=2, seconds=0.5),
    ),
    (
        {"event": "studied", "being": "network", "experience": 1, "epoch": 0, "images": 64, "total": 128, "loss": 0.5,
         "accuracy": 0.75, "seconds": 0.5},
        Learned("network", "", 1, 64, 128, 64, 0.75, [], {"loss": 0.5}, 0.5, epoch=0),
    ),
    (
        {"event": "recalled", "being": "network", "learned": 1, "accuracies": [0.5, 0.25], "spikes": 3.0,
         "memory_bytes": 9, "replay_bytes": 4, "seconds": 0.5},
        Evaluated(
            "network", "", 0,
            {name: {"return_mean": value, "spikes_per_decision": 3.0} for name, value in (("0", 0.5), ("1", 0.25))},
            part="test", number=1, memory_bytes=9, replay_bytes=4, seconds=0.5,
        ),
    ),
    ({"event": "compared", "scores": {"t": ROW}, "ann_twin": {"t": ROW}}, Compared({"t": ROW}, {"t": ROW})),
    ({"event": "compared", "scores": STREAM, "ann_twin": STREAM}, Compared(AVERAGE, AVERAGE)),
    ({"event": "saved", "path": "checkpoints/000001", "age": 9, "bytes": 5, "seconds": 0.5},
     Saved("checkpoints/000001", 9, 5, 0.5)),
    ({"event": "noted", "text": "Grüße"}, Noted("Grüße")),
    ({"event": "ended", "state": "finished", "age": 9, "text": ""}, Ended("finished", 9)),
]  # fmt: skip


@pytest.mark.parametrize(("old", "event"), OLD, ids=lambda value: value["event"] if isinstance(value, dict) else "")
def test_events_of_version_0_1_are_read_in_todays_words(old: dict[str, Any], event: Event) -> None:
    read = from_json({"time": "2026-01-01T00:00:00.000+00:00", **old})
    assert type(read) is type(event)
    assert read.to_json() == event.to_json()
    assert from_json(read.to_json()) == event  # and what is written again is today's
