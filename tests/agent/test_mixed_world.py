"""Lives in which images and environments take turns."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from snn4.agent.config.file import ConfigError
from snn4.agent.life.config import LifeConfig, load
from snn4.agent.life.life import Life, live
from snn4.agent.run.events import Began, Ended, Entered, Evaluated, Event, Learned, Saved
from snn4.agent.run.old_session import begin

MIXED = [
    "world=[{data: {name: digits, limit: 200}, steps: 256}, {environment: CartPole-v1, steps: 128}]", "rounds=2",
    "policy.neuron.v_threshold=0.3",
]  # fmt: skip


def test_images_and_an_environment_in_one_life(tiny: Callable[..., LifeConfig], tmp_path: Path) -> None:
    life = Life(tiny(*MIXED, "ann_twin=true"), tmp_path)
    events = list(live(life))
    assert [e.task for e in events if isinstance(e, Entered) and e.being == "organism"] == ["digits", "CartPole-v1"] * 2
    assert events[-1] == Ended("finished", 2 * 2 * (256 + 128))
    summary = life.summary(None)
    for half, being in (("tasks", "organism"), ("ann_twin", "ann_twin")):
        row = summary[half]["digits"]
        assert row["episodes"] == 359, "all test images"
        assert 0.2 < row["return_mean"] <= 1, "chance is a tenth"
        assert row["env_steps"] == 512
        assert (row["spikes_per_decision"] > 0) == (half == "tasks")
        assert 0.05 < summary["retention"][being]["chance"]["digits"] < 0.2
    began = events[0]
    assert isinstance(began, Began)
    assert began.tasks[0] == {"environment": "digits", "steps": 256}


@pytest.mark.parametrize(
    ("data", "said"),
    [("{name: digits, limit: 5}", "world.1: digits cannot be built: limit: got 5, allowed are 10 or more"),
     ("{name: cifar10, root: /nosuch, download: false}", "world.1: cifar10 cannot be built: cifar10: /nosuch/")],
)  # fmt: skip
def test_images_are_looked_for_before_anything_is_lived(
    tiny: Callable[..., LifeConfig], tmp_path: Path, data: str, said: str
) -> None:
    config = tiny(f"world=[{{environment: CartPole-v1, steps: 128}}, {{data: {data}, steps: 100}}]")
    with pytest.raises(ConfigError, match=re.escape(said)):
        begin(config, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_encoders_and_heads_are_each_task_s_own(tiny: Callable[..., LifeConfig], tmp_path: Path) -> None:
    life = Life(tiny(*MIXED), tmp_path)
    being = life.beings[0]
    list(live(life))
    policies: list[Any] = [life.policy(being, task) for task in life.config.world[:2]]
    first, last = (
        [p.mlp_extractor.policy_net.layers[0].in_features for p in policies],
        [p.action_net for p in policies],
    )
    assert first == [64, 4]
    assert [head.out_features for head in last] == [10, 2]
    hidden = [p.mlp_extractor.policy_net.layers[2].weight for p in policies]
    assert torch.equal(*hidden)


@pytest.mark.parametrize("protection", ["none", "freeze", "ewc", "replay"])
def test_a_mixed_life_killed_after_a_checkpoint_goes_on_bit_by_bit(
    tiny: Callable[..., LifeConfig], tmp_path: Path, protection: str
) -> None:
    config = tiny(*MIXED, f"protection={{kind: {protection}, samples: 40, batch_size: 8}}")
    events: list[Event] = []
    copies = []
    for event in live(Life(config, tmp_path / "life")):
        events.append(event)
        if isinstance(event, Saved):
            copies.append((len(events), tmp_path / str(len(events))))
            shutil.copytree(tmp_path / "life", copies[-1][1])
    for position, folder in (copies[0], copies[1], copies[3]):
        life = Life(config, folder)
        assert life.restore() is not None
        _, *rest = live(life)
        rest = rest[1:] if isinstance(rest[0], Entered) and rest[0].step else rest
        assert rest == events[position:]


def test_a_task_s_own_network_sees_its_images(tiny: Callable[..., LifeConfig], tmp_path: Path) -> None:
    network = "{name: vgg-small, T: 2, options: {channels: [4, 8]}}"
    life = Life(tiny(*MIXED, f"world.0.encoder={network}", "rounds=1", "protection.kind=replay"), tmp_path)
    events = list(live(life))
    assert [type(life.policy(life.beings[0], task).features_extractor).__name__ for task in life.config.world] == [  # type: ignore[attr-defined]
        "NetworkFeatures", "FlattenExtractor",
    ]  # fmt: skip
    final = [e for e in events if isinstance(e, Evaluated) and e.final]
    assert final[0].scores["digits"]["effective_macs"] > 0
    assert any(isinstance(e, Learned) and e.task == "digits" and e.episode_return is not None for e in events)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("world.0.data.name=digit", "world.0.data.name: got 'digit', did you mean digits?"),
        ("world.0.data.nam=digits", "world.0.data.nam: unknown key"),
        ("world.0.data={name: nmnist}", "world.0.data: got nmnist, allowed are images"),
        ("world.0.variation={noise: 1}", "world.0.data: got them with kwargs or a variation"),
        ("world.0.recognition={batch_size: 0}", "world.0.recognition.batch_size: got 0"),
        ("policy={state: carry, T: 1}", "policy: got state carry in a world with images"),
    ],
)
def test_problems(tiny: Callable[..., LifeConfig], override: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        tiny(*MIXED, override)
    (found,) = error.value.problems
    assert found.partition(": ")[2].startswith(said)


@pytest.mark.parametrize("name", ["mixed_world"])
def test_the_shipped_world(name: str) -> None:
    config = load(name)
    assert [task.name for task in config.world] == ["digits", "CartPole-v1"] * 2


def test_the_shipped_streams_of_control() -> None:
    pytest.importorskip("Box2D")
    stream, drift = load("control_stream"), load("cartpole_drift")
    assert stream.world[0].name == stream.world[-1].name == "CartPole-v1"
    assert all(task.reference is not None for task in stream.world)
    assert {task.name for task in drift.world} == {"CartPole-v1"}
    assert len({str(task.variation) for task in drift.world}) == 3
