"""Lives in drifting worlds and with a protected trunk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from config_problems import problems_of
from stories import Story, of

from snn4.agent import kinds
from snn4.agent.config.file import dump
from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life
from snn4.agent.run.events import Entered, Evaluated, Event, Learned
from snn4.policies.sb3 import trunk_names

Tiny = Callable[..., LifeConfig]

STREAM = [
    "world=[{environment: CartPole-v1, steps: 128}, {environment: Acrobot-v1, steps: 192, kwargs: "
    "{max_episode_steps: 50}}, {environment: CartPole-v1, steps: 128, variation: {physics: {gravity: 15}, noise: 0.1}, "
    "name: CartPole-v1}]",
    "policy.neuron.v_threshold=0.3", "evaluation.every=64",
]  # fmt: skip
DQN = [
    "learner={algorithm: DQN, hyperparameters: {learning_starts: 40, buffer_size: 200, batch_size: 16, train_freq: 4}}"
]
PROTECTIONS = ["{kind: freeze}", "{kind: freeze, fraction: 0.5, samples: 30}", "{kind: ewc, samples: 30}",
               "{kind: replay, samples: 100, batch_size: 8}"]  # fmt: skip


def lived(life: Life, folder: Path) -> list[Event]:
    return Story(life, folder).tell()


@pytest.mark.parametrize(
    "protection", [*PROTECTIONS[1::2], *(pytest.param(kind, marks=pytest.mark.slow) for kind in PROTECTIONS[::2])]
)
@pytest.mark.parametrize("learner", ["PPO", pytest.param("DQN", marks=pytest.mark.slow)])
def test_a_protected_life_that_is_killed(tiny: Tiny, whole: Callable[..., Any], protection: str, learner: str) -> None:
    whole(tiny(*STREAM, *(DQN if learner == "DQN" else []), f"protection={protection}"))


def test_what_is_replayed_acts_as_in_the_latest_stay(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = ("steps: 128", "steps: 128, variation: {physics: {length: 2}}", "steps: 64")
    pole = ", ".join(f"{{environment: CartPole-v1, name: pole, {stay}}}" for stay in stays)
    world = f"world=[{pole}, {{environment: Acrobot-v1, steps: 64}}]"
    life = Life(tiny(world, f"protection={PROTECTIONS[-1]}"))
    Story(life, tmp_path).tell()
    being = life.beings[0]
    lengths: list[int] = []
    policy = being.policy
    monkeypatch.setattr(being, "policy", lambda task: lengths.append(task.steps) or policy(task))
    being.world.position = 3
    list(being.take_up(life.config.world[3], lambda: False))
    assert lengths == [64], "the stay from whose end the memory is"


@pytest.mark.parametrize("kind", ["spiking", pytest.param("ann", marks=pytest.mark.slow)])
def test_protection_acts_from_the_second_task_on(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    def learned(protection: str) -> list[Learned]:
        config = tiny(*STREAM, f"protection={protection}", f"policy.kind={kind}",
                      "learner.hyperparameters.learning_rate=0.02")  # fmt: skip
        return of(Learned, lived(Life(config), tmp_path / protection[:12]))

    free = learned("{kind: none}")
    for protection in PROTECTIONS:
        other = learned(protection)
        assert [e for e in other if e.number == 0] == [e for e in free if e.number == 0]
        assert [e for e in other if e.number == 1] != [e for e in free if e.number == 1], protection


def test_a_frozen_trunk_is_that_of_the_best_moment_of_the_first_task(tiny: Tiny, tmp_path: Path) -> None:
    life = Life(tiny(*STREAM, "protection.kind=freeze"))
    trunks: list[dict[str, torch.Tensor]] = []
    being = life.beings[0]
    trunks += [dict(being.organism.trunk) for e in Story(life, tmp_path).events() if isinstance(e, Entered)]
    trunks.append(dict(being.organism.trunk))
    assert not trunks[0]
    for name, synapses in trunks[1].items():
        for later in trunks[2:]:
            assert torch.equal(later[name], synapses) == name.startswith("actor."), name
    assert set(trunks[1]) == set(trunk_names(being.policy(life.config.world[0])))


# Variations and names


def test_drift_goes_on_with_the_same_head_and_another_name_begins_anew(tiny: Tiny, tmp_path: Path) -> None:
    life = Life(tiny(STREAM[0], STREAM[1], "world.2.name=''"))
    assert [task.name for task in life.config.world] == [
        "CartPole-v1", "Acrobot-v1", "CartPole-v1 (gravity 15, noise 0.1)",
    ]  # fmt: skip
    (last,) = of(Evaluated, lived(life, tmp_path), part="test")
    assert set(last.scores) == {task.name for task in life.config.world}
    assert {name: row["env_steps"] for name, row in life.summary()["tasks"].items()} == {
        "CartPole-v1": 128, "Acrobot-v1": 192, "CartPole-v1 (gravity 15, noise 0.1)": 128,
    }  # fmt: skip
    drifting = Life(tiny(*STREAM))
    (last,) = of(Evaluated, lived(drifting, tmp_path / "drift"), part="test")
    assert list(last.scores) == ["CartPole-v1", "Acrobot-v1", "CartPole-v1, gravity 15, noise 0.1"]
    assert drifting.summary()["tasks"]["CartPole-v1"]["env_steps"] == 256, "of both, which have one head"
    seen = drifting.beings[0].world.seen
    gravities = [
        drifting.beings[0].evaluator.environment(task, 5).get_attr("unwrapped")[0].gravity for task in seen[::2]
    ]
    assert gravities == [9.8, 15], "tested are the environment as it was, and as it is now"


def test_a_task_s_own_code(tiny: Tiny, tmp_path: Path) -> None:
    life = Life(tiny(STREAM[0], "world.1.coding.kind=population"))
    lived(life, tmp_path)
    inputs = []
    for task in life.config.world[:2]:
        policy: Any = life.beings[0].policy(task)
        inputs.append(policy.mlp_extractor.policy_net.encoder.n_outputs)
    assert inputs[0] == 4
    assert inputs[1] > 6
    assert life.beings[0].organism.trunk


# Configs


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["world.0.variation={physics: {gravitas: 3}}"], "world.0.variation.physics: got 'gravitas', allowed are "),
        (["world.0.variation={lost: [7]}"], "world.0.variation.lost: got [7], allowed are 0 to 3"),
        (["world.0.variation={noise: -1}"], "world.0.variation.noise: got -1.0, allowed"),
        (["world.0.variation={nois: 1}"], "world.0.variation.nois: unknown key; did you mean noise?"),
        (["protection.kind=ice"], "protection.kind: got 'ice', allowed"),
        (["protection.samples=0"], "protection.samples: got 0, allowed"),
        (["protection.kind=ewc", "policy.net_arch=[8]"], "protection: ewc is not allowed with net_arch [8]"),
        (["protection.kind=replay", "policy={state: carry, T: 1, net_arch: [8, 8]}"],
         "protection: replay is not allowed with state: carry; set none or freeze"),
        (["world=[{environment: CartPole-v1, steps: 1, name: a}, {environment: Acrobot-v1, steps: 1, name: a}]"],
         "world.1.name: got 'a', the name of an earlier task with other observations"),
        (["rounds=0"], "rounds: got 0, allowed is a whole number >= 1"),
        (["rounds=x"], "rounds: got 'x', allowed is a whole number >= 1"),
        (["world=[{rounds: 0, world: [{environment: CartPole-v1, steps: 1}]}]"], "world.0.rounds: got 0, allowed"),
        (["world=[{round: 2, world: [{environment: CartPole-v1, steps: 1}]}]"],
         "world.0.round: unknown key of a group"),
    ],
)  # fmt: skip
def test_problems(tiny_yaml: Path, overrides: list[str], message: str) -> None:
    (line,) = problems_of(tiny_yaml, *overrides)
    assert line.startswith(message)


def test_rounds_repeat_a_world_and_worlds_nest(tiny: Tiny, tiny_yaml: Path) -> None:
    a, b, c = (f"{{environment: {name}, steps: 5}}" for name in ("CartPole-v1", "Acrobot-v1", "MountainCar-v0"))
    names = {"CartPole-v1": "A", "Acrobot-v1": "B", "MountainCar-v0": "C"}

    def order(*overrides: str) -> str:
        return "".join(names[task.environment] for task in tiny(*overrides).world)

    assert order(f"world=[{a}, {b}]", "rounds=3") == "ABABAB"
    assert order(f"world=[{a}, {{rounds: 2, world: [{b}, {c}]}}]") == "ABCBC"
    assert order(f"world=[{a}, {{rounds: 2, world: [{b}, {{world: [{c}, {c}]}}]}}]", "rounds=2") == "ABCCBCCABCCBCC"
    # What is told is told once.
    assert len(problems_of(tiny_yaml, f"world=[{a}, {b}]", "world.1.steps=0", "rounds=3")) == 1


def test_what_is_dumped_loads_to_the_same_life(tiny: Tiny, written: Callable[[str], Path]) -> None:
    config = tiny(*STREAM, "rounds=2", "world.1.coding.kind=rate", "world.1.reference=-80", "protection.kind=ewc")
    assert kinds.load(written(dump(config)))[1] == config
    assert len(config.world) == 6
