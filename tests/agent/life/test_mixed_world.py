"""Lives in which images and environments take turns."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from config_problems import problems_of
from stories import Story, of

from snn4.agent import kinds, runner
from snn4.agent.config.file import ConfigError
from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life
from snn4.agent.run.events import Began, Ended, Entered, Evaluated, Learned

Tiny = Callable[..., LifeConfig]

MIXED = [
    "world=[{data: {name: digits, limit: 200}, steps: 256}, {environment: CartPole-v1, steps: 128}]", "rounds=2",
    "policy.neuron.v_threshold=0.3",
]  # fmt: skip


def test_images_and_an_environment_in_one_life(tiny: Tiny, tmp_path: Path) -> None:
    life = Life(tiny(*MIXED, "ann_twin=true"))
    events = Story(life, tmp_path).tell()
    assert [e.task for e in of(Entered, events, being="organism")] == ["digits", "CartPole-v1"] * 2
    assert events[-1] == Ended("finished", 2 * 2 * (256 + 128))
    summary = life.summary()
    for half, being in (("tasks", "organism"), ("ann_twin", "ann_twin")):
        row = summary[half]["digits"]
        assert row["episodes"] == 359, "all test images"
        assert row["env_steps"] == 512
        assert (row["spikes_per_decision"] > 0) == (half == "tasks")
        chance = summary["retention"][being]["chance"]["digits"]
        assert 0.05 < chance < 0.2
        assert chance + 0.05 < row["return_mean"] <= 1
    began = events[0]
    assert isinstance(began, Began)
    assert began.tasks[0] == {"environment": "digits", "steps": 256}


@pytest.mark.parametrize(
    ("data", "message"),
    [("{name: digits, limit: 5}", "world.1: digits cannot be built: limit: got 5, allowed are 10 or more"),
     ("{name: cifar10, root: /nosuch, download: false}", "world.1: cifar10 cannot be built: cifar10: /nosuch/")],
)  # fmt: skip
def test_images_are_looked_for_before_anything_is_lived(tiny: Tiny, tmp_path: Path, data: str, message: str) -> None:
    config = tiny(f"world=[{{environment: CartPole-v1, steps: 128}}, {{data: {data}, steps: 100}}]")
    with pytest.raises(ConfigError, match=re.escape(message)):
        runner.begin(kinds.named("life"), config, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_encoders_and_heads_are_each_task_s_own(tiny: Tiny, tmp_path: Path) -> None:
    life = Life(tiny(*MIXED))
    Story(life, tmp_path).tell()
    policies: list[Any] = [life.beings[0].policy(task) for task in life.config.world[:2]]
    assert [p.mlp_extractor.policy_net.layers[0].in_features for p in policies] == [64, 4]
    assert [p.action_net.out_features for p in policies] == [10, 2]
    hidden = [p.mlp_extractor.policy_net.layers[2].weight for p in policies]
    assert torch.equal(*hidden)


@pytest.mark.parametrize(
    "protection", ["none", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("freeze", "ewc")), "replay"]
)
def test_a_mixed_life_that_is_killed(tiny: Tiny, whole: Callable[..., Any], protection: str) -> None:
    whole(tiny(*MIXED, f"protection={{kind: {protection}, samples: 40, batch_size: 8}}"))


def test_a_task_s_own_network_sees_its_images(tiny: Tiny, tmp_path: Path) -> None:
    network = "{name: vgg-small, T: 2, options: {channels: [4, 8]}}"
    life = Life(tiny(*MIXED, f"world.0.encoder={network}", "rounds=1", "protection.kind=replay"))
    events = Story(life, tmp_path).tell()
    policies: list[Any] = [life.beings[0].policy(task) for task in life.config.world]
    assert [type(p.features_extractor).__name__ for p in policies] == ["NetworkFeatures", "FlattenExtractor"]
    assert of(Evaluated, events, part="test")[0].scores["digits"]["effective_macs"] > 0
    assert any(e.episode_return is not None for e in of(Learned, events, task="digits"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("world.0.data.name=digit", "world.0.data.name: got 'digit', did you mean digits?"),
        ("world.0.data.nam=digits", "world.0.data.nam: unknown key"),
        ("world.0.data={name: nmnist}", "world.0.data: got nmnist, allowed are images"),
        ("world.0.variation={noise: 1}", "world.0.data: not allowed with variation; remove variation"),
        ("world.0.recognition={batch_size: 0}", "world.0.recognition.batch_size: got 0"),
        ("policy={state: carry, T: 1}", "policy: state: carry is not allowed in a world with images"),
    ],
)  # fmt: skip
def test_problems(tiny_yaml: Path, override: str, message: str) -> None:
    (line,) = problems_of(tiny_yaml, *MIXED, override)
    assert line.startswith(message)


def test_the_shipped_world() -> None:
    _, config = kinds.load("mixed_world")
    assert [task.name for task in config.world] == ["digits", "CartPole-v1"] * 2


def test_the_shipped_streams_of_control() -> None:
    pytest.importorskip("Box2D")
    stream, drift = (kinds.load(name)[1] for name in ("control_stream", "cartpole_drift"))
    assert stream.world[0].name == stream.world[-1].name == "CartPole-v1"
    assert all(task.reference is not None for task in stream.world)
    assert {task.name for task in drift.world} == {"CartPole-v1"}
    assert len({str(task.variation) for task in drift.world}) == 3
