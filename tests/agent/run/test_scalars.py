from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from evolutions import FIRST, SECOND, row, told
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snn4.agent.run.events import Evaluated, Event, Learned, Noted
from snn4.agent.run.scalars import Scalars

ROW = {"return_mean": 9.5, "spikes_per_decision": 3.0, "effective_acs": 2.0, "effective_macs": 1.0}
STORY: list[Event] = [
    Learned("organism", "CartPole-v1", 0, 10, 30, 10, None, [0.25, 0.5], {"train/loss": 0.5}),
    Evaluated("organism", "CartPole-v1", 10, {"CartPole-v1": ROW}),
    Learned("organism", "CartPole-v1", 0, 20, 30, 20, 7.5, [0.125, 0.0], {"train/loss": 0.25}),
    Evaluated("organism", "CartPole-v1", 30, {"CartPole-v1": ROW | {"return_mean": 100.0}}, part="test"),
    Noted("nothing to draw"),
]


def write(folder: Path, *events: Event) -> None:
    scalars = Scalars(folder)
    for event in events:
        scalars.write(event)
    scalars.close()


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def shown(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    accumulator = read(folder)
    return {
        tag: [(scalar.step, scalar.value) for scalar in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_of_a_life(tmp_path: Path) -> None:
    write(tmp_path, *STORY)
    task = "organism/0-CartPole-v1"
    assert shown(tmp_path) == {
        f"{task}/train/loss": [(10, 0.5), (20, 0.25)],
        f"{task}/spike_rate/layer_0": [(10, 0.25), (20, 0.125)],
        f"{task}/spike_rate/layer_1": [(10, 0.5), (20, 0.0)],
        f"{task}/episode_return": [(20, 7.5)],
        **{f"organism/validation/CartPole-v1/{key}": [(10, value)] for key, value in ROW.items()},
        **{f"organism/test/CartPole-v1/{key}": [(30, value)] for key, value in (ROW | {"return_mean": 100.0}).items()},
    }


def test_of_images(tmp_path: Path) -> None:
    validated = Evaluated("ann_twin", "digits", 640, {"digits": {"return_mean": 0.875, "loss": 0.125}}, number=1)
    losses = {"loss": 0.5, "learning_rate": 0.25}
    write(tmp_path, Learned("network", "digits", 0, 640, 1280, 640, 0.75, [], losses, epoch=1, T=4), validated)
    assert shown(tmp_path) == {
        "network/0-digits/loss": [(640, 0.5)],
        "network/0-digits/learning_rate": [(640, 0.25)],
        "network/0-digits/episode_return": [(640, 0.75)],
        "ann_twin/validation/digits/return_mean": [(640, 0.875)],
        "ann_twin/validation/digits/loss": [(640, 0.125)],
    }


def test_of_an_evolution(tmp_path: Path) -> None:
    """At the end of each generation; the organism itself lives on where nobody is adopted."""
    write(tmp_path, *FIRST, *SECOND, told(2, [row(6, stopped="silent")], {}))
    assert shown(tmp_path) == {
        "organism/evolution/adopted": [(1000, 1.0), (2000, 0.0), (3000, 0.0)],
        "organism/evolution/best_return": [(1000, 400.0), (2000, 380.0)],
        "organism/evolution/return": [(1000, 400.0), (2000, 390.0)],
        "organism/evolution/synaptic_operations": [(1000, 30.0), (2000, 31.0)],
    }


def test_what_is_lived_again_is_shown_once(tmp_path: Path) -> None:
    write(tmp_path, *STORY)
    before, then = shown(tmp_path), datetime(2026, 1, 1, tzinfo=timezone.utc)
    again = Scalars(tmp_path)
    again.write_again((event, then) for event in STORY[:2])
    for event in STORY[2:]:
        again.write(event)
    again.close()
    assert shown(tmp_path) == before
    first, second = read(tmp_path).Scalars("organism/0-CartPole-v1/train/loss")
    assert first.wall_time == then.timestamp() < second.wall_time
    again.write_again([])
    assert shown(tmp_path) == {}
