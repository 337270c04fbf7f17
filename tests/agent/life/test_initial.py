"""Lives that start with the weights of another life, or of a policy in a zip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import only
from safetensors.torch import load_file
from saved_agents import ON
from stable_baselines3 import PPO
from stories import Story, of
from teachers import balancer

from snn4.agent import runner
from snn4.agent.config.file import ConfigError
from snn4.agent.life import kind
from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life
from snn4.agent.run import checkpoint
from snn4.agent.run.events import Learned, Noted
from snn4.agent.run.work import OneProcess
from snn4.policies.sb3 import SpikingActorCriticPolicy

Tiny = Callable[..., LifeConfig]
WORLD = (
    "world=[{environment: CartPole-v1, steps: 128}, {environment: Acrobot-v1, steps: 64, "
    "kwargs: {max_episode_steps: 50}}]"
)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    runner.begin(kind, tiny(WORLD, "ann_twin=true"), runs, quiet=True)  # type: ignore[arg-type]
    return only(runs)


def prepared(config: LifeConfig) -> Life:
    return kind.prepare(config, OneProcess())


def problems(config: LifeConfig) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        prepared(config)
    return raised.value.problems


def weights(life: Life, number: int) -> dict[str, Any]:
    being = life.beings[number]
    return dict(being.policy(being.world.tasks[0]).state_dict())


def test_beings_start_as_those_of_the_same_name(tiny: Tiny, lived: Path) -> None:
    saved = checkpoint.newest(lived)
    assert saved is not None
    before = Life(tiny(WORLD, "ann_twin=true"))
    before.load_state(saved.state)
    life = prepared(tiny(WORLD, "ann_twin=true", f"policy.initial={lived}", "seed=9"))
    assert life.notes == []
    for number in (0, 1):
        expected, found = weights(before, number), weights(life, number)
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    being = life.beings[0]
    list(being.take_up(being.world.tasks[0], lambda: False))
    assert being.learner is not None
    learned = being.learner.policy.state_dict()
    assert all(torch.equal(value, learned[name]) for name, value in weights(before, 0).items())
    assert (life.age, being.organism.age) == (0, 0), "a life of its own"


def test_it_lives_and_goes_on(tiny: Tiny, lived: Path, tmp_path: Path) -> None:
    config = tiny("world.0.steps=256", f"policy.initial={lived}")
    events = Story(prepared(config), tmp_path).tell()
    again = Story(prepared(config), tmp_path)
    again.restore(1)
    rest = of(Learned, again.tell())
    assert rest == of(Learned, events)[-len(rest) :]


def test_new_tasks_share_the_trunk_alone(tiny: Tiny, lived: Path) -> None:
    config = tiny("world=[{environment: MountainCar-v0, steps: 64}]", f"policy.initial={lived}")
    life = prepared(config)
    assert life.notes == ["policy.initial: SNN has not met MountainCar-v0: encoder and head start anew there"]
    assert life.beings[0].organism.trunk
    assert "MountainCar-v0" not in life.beings[0].organism.tasks


def test_a_zip_of_a_spiking_policy(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    arguments: dict[str, Any] = {"net_arch": [16, 16], "T": 2}
    model = PPO(SpikingActorCriticPolicy, "CartPole-v1", policy_kwargs=arguments, **ON)
    model.save(path)
    life = prepared(tiny(f"policy.initial={path}", "ann_twin=true"))
    found = weights(life, 0)
    assert all(torch.equal(value, found[name]) for name, value in model.policy.state_dict().items())
    assert life.notes == ["policy.initial: ANN twin starts anew"]


def test_a_twin_without_a_past_is_told(tiny: Tiny, lived: Path, tmp_path: Path) -> None:
    config = tiny("world.0.steps=64", "relu_twin=true", f"policy.initial={lived}")
    events = Story(prepared(config), tmp_path).tell()
    notes = [event.text for event in of(Noted, events) if "policy.initial" in event.text]
    assert notes == [f"policy.initial: ReLU twin starts anew: {lived} has none"]


ENCODER = "policy.encoder={name: vgg-small, T: 2, options: {channels: [4, 8]}}"
DIGITS = "world=[{data: {name: digits, limit: 160}, steps: 64}, {data: {name: digits}, name: again, steps: 64}]"


@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_the_network_of_a_training_starts_the_encoders(tiny: Tiny, trained: Path, algorithm: str) -> None:
    """Of each being in each task, all copies that SB3 keeps; the rest is drawn, and targets follow it."""
    learner = f"learner={{algorithm: {algorithm}}}"
    life = prepared(tiny(DIGITS, ENCODER, learner, "ann_twin=true", f"policy.initial={trained}"))
    assert life.notes == []
    for being, name in zip(life.beings, ("model", "ann_twin"), strict=True):
        wanted = load_file(trained / f"{name}.safetensors")
        for task in life.config.world:
            found: dict[str, Any] = being.policy(task).state_dict()
            parts = [key for key in found if "features_extractor.network" in key]
            assert len(parts) >= len(wanted) - 2
            assert all(torch.equal(found[key], wanted[key.rpartition("extractor.network.")[2]]) for key in parts)
            targets = [key for key in found if key.startswith("q_net_target")]
            assert bool(targets) == (algorithm == "DQN")
            assert all(torch.equal(found[key], found[key.replace("_target", "")]) for key in targets)


def test_a_training_without_an_encoder_to_start(tiny: Tiny, trained: Path) -> None:
    (line,) = problems(tiny(f"policy.initial={trained}"))
    assert "is a training, which starts an encoder; CartPole-v1 has none: set policy.encoder" in line
    (line,) = problems(tiny(DIGITS, ENCODER.replace("4, 8", "4, 6"), f"policy.initial={trained}"))
    assert "(8, 4, 3, 3) there, (6, 4, 3, 3) in the policy" in line


def test_weights_that_do_not_fit(tiny: Tiny, lived: Path, tmp_path: Path) -> None:
    (line,) = problems(tiny(f"policy.initial={lived}", "policy.net_arch=[16, 8]"))
    assert "policy.initial: " in line
    assert "mlp_extractor.policy_net.layers.2.weight is (16, 16) there, (8, 16) in the policy" in line
    (line,) = problems(tiny(f"policy.initial={balancer(tmp_path)}"))
    assert "is missing" in line
    (line,) = problems(tiny(f"policy.initial={tmp_path}/none"))
    assert "which is missing; allowed is a run folder, or a .zip of a policy" in line
    (line,) = problems(tiny(f"policy.initial={tmp_path}"))
    assert "no run folder" in line
