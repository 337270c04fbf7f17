"""Lives of organisms that see: a perception network in front of the policy (``policy.encoder``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from config_problems import problems_of
from safetensors.torch import load_file
from stories import Story, of

from snn4.agent import kinds
from snn4.agent.config.file import ConfigError
from snn4.agent.life import kind
from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life
from snn4.agent.models.files import find_model
from snn4.agent.run.events import Ended, Learned
from snn4.agent.run.work import OneProcess
from snn4.policies.acting.features import NetworkFeatures
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.hybrid import HybridConfig

SEEING = [
    "world=[{environment: CartPolePixels-v1, steps: 192, kwargs: {height: 12, width: 30, frames: 2}}]",
    "policy.neuron={v_threshold: 0.2}",
    "policy.encoder={name: hybrid-small, T: 2, neuron: {v_threshold: 0.1}}",
    "policy.encoder.options={front_channels: [4], channels: [6], pooling: max, norm: none, head: flatten}",
    "learner={n_envs: 2, hyperparameters: {n_steps: 32, batch_size: 32, n_epochs: 2}}",
    "ann_twin=true",
]


def test_a_life_that_sees(tiny: Callable[..., LifeConfig], whole: Callable[..., Any]) -> None:
    life, events = whole(tiny(*SEEING))
    assert events[-1] == Ended("finished", 2 * 192)
    rates = {len(event.spike_rates) for event in of(Learned, events, being="organism")}
    assert rates == {1 + 2}, "a layer of the encoder, and two of the policy"
    row, twin = (life.summary()[half]["CartPolePixels-v1"] for half in ("tasks", "ann_twin"))
    assert row["parameters"] == twin["parameters"]
    assert row["spikes_per_decision"] > 0 == twin["spikes_per_decision"]
    assert row["effective_macs"] > 0 < row["effective_acs"]


def test_another_world_gets_another_encoder(tiny: Callable[..., LifeConfig], tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    world = "world=[{environment: CartPolePixels-v1, steps: 64}, {environment: MinAtar/Breakout-v1, steps: 64}]"
    life = Life(tiny(*SEEING[1:-1], world, "policy.encoder.options.head=average"))
    assert Story(life, tmp_path).tell()[-1] == Ended("finished", 128)
    seen = [life.beings[0].policy(task).features_extractor for task in life.config.world]
    sizes: list[Any] = [extractor.network.config for extractor in seen if isinstance(extractor, NetworkFeatures)]
    assert [(c.in_channels, c.image_size) for c in sizes] == [(4, (24, 60)), (4, (10, 10))]


WRONG: dict[str, tuple[list[str], str]] = {
    "name": (["policy.encoder={name: vgg-smal}"], "policy.encoder.name: got 'vgg-smal', did you mean vgg-small"),
    "key": (["policy.encoder.layers=4"], "policy.encoder.layers: unknown key; "),
    "option": (["policy.encoder.options={chanels: [4]}"], "policy.encoder.options: got 'chanels', allowed for"),
    "value": (["policy.encoder.options={channels: [0]}"], r"channels: got (0,), allowed are one or more whole numbers"),
    "type": (["policy.encoder.options={channels: 4}"], "options: got {'channels': 4}, one of which has a wrong type"),
    "code": (["policy.coding={kind: rate}"], "policy.coding: got kind 'rate', allowed is direct with an encoder"),
    "no images": (["world=[{environment: CartPole-v1, steps: 64}]"], "allowed with an encoder are images"),
    "too small": (["world.0.kwargs.height=8", "policy.encoder.options.pools=[8]"], "allowed are sides >= 16"),
    "no weights": (["policy.encoder.options.weights=lost.pt"], "weights: lost.pt: no such file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors(tiny_yaml: Path, case: str) -> None:
    overrides, message = WRONG[case]
    (line,) = problems_of(tiny_yaml, *SEEING, *overrides)
    assert message in line


@pytest.mark.parametrize("name", ["pixel_cartpole", "minatar_breakout"])
def test_shipped_configs(name: str) -> None:
    if name.startswith("minatar"):
        pytest.importorskip("minatar")
    _, config = kinds.load(name)
    assert isinstance(config.policy.encoder, NetworkConfig)
    assert config.ann_twin
    if name == "pixel_cartpole":
        assert isinstance(config.policy.encoder.resolve(4, (24, 60), 1), HybridConfig)


def test_an_encoder_may_be_the_name_of_a_trained_network() -> None:
    raw = {
        "name": "sees",
        "world": [{"steps": 64, "data": {"name": "digits"}}],
        "policy": {"net_arch": [16, 16], "encoder": "zoo:digits"},
    }
    config = kind.read(raw, "sees.yaml", [])
    folder = find_model("zoo:digits")
    trained = kinds.load(folder / "config.yaml")[1]
    assert config.policy.encoder == trained.network
    assert config.policy.initial == str(folder)
    parameters = kind.prepare(config, OneProcess()).beings[0].organism.tasks["digits"].parameters
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    assert any(key.endswith(name) and torch.equal(value, weights[name]) for key, value in parameters.items())


@pytest.mark.parametrize("name", ["nowhere", "zoo:nothing"])
def test_an_encoder_that_does_not_exist(name: str) -> None:
    raw = {"name": "blind", "world": [{"environment": "CartPole-v1", "steps": 64}], "policy": {"encoder": name}}
    with pytest.raises(ConfigError, match=rf"policy.encoder: .*{name}.*(allowed|shipped)") as raised:
        kind.read(raw, "blind.yaml", [])
    assert len(raised.value.problems) == 1
