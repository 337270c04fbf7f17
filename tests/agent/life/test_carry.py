"""Lives whose membranes are carried from decision to decision (``state: carry``)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from config_problems import problems_of
from stories import Story, of

from snn4.agent import kinds
from snn4.agent.config.file import CONFIGS
from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life
from snn4.agent.run.events import Ended, Learned

CARRY = [
    "world=[{environment: CartPoleNoVel-v1, steps: 384}]",
    "policy={state: carry, T: 1, net_arch: [16, 12], neuron: {tau_mem: 5e-3, v_threshold: 0.5}}",
    "learner={n_envs: 2, normalize: true, hyperparameters: {n_steps: 32, batch_size: 32, n_epochs: 2}}",
    "ann_twin=true",
]


def test_a_life_that_remembers(tiny: Callable[..., LifeConfig], whole: Callable[..., Any]) -> None:
    life, events = whole(tiny(*CARRY, "policy.memory={taus: [2e-3, 8e-3], gain: 2.0}"))
    assert events[-1] == Ended("finished", 2 * 384)
    summary = life.summary()
    for half in ("tasks", "ann_twin"):
        row = summary[half]["CartPoleNoVel-v1"]
        assert row["env_steps"] == 384
        costs = [row[name] for name in ("return_mean", "spikes_per_decision", "effective_acs", "effective_macs")]
        costs += [*row["energy_joules"].values(), row["parameters"], row["bytes"]]
        assert all(math.isfinite(cost) for cost in costs if cost is not None)
        assert row["parameters"] > 0
        assert (row["spikes_per_decision"] > 0) == (half == "tasks")
    assert all(len(e.spike_rates) == (2 if e.being == "organism" else 0) for e in of(Learned, events))
    policies = [type(being.policy(life.config.world[0])).__name__ for being in life.beings]
    assert policies == ["SpikingRecurrentPolicy", "LstmPolicy"]


def test_a_return_to_a_task_and_another_backend(tiny: Callable[..., LifeConfig], tmp_path: Path) -> None:
    pytest.importorskip("norse")
    world = "world=[{environment: CartPoleNoVel-v1, steps: 64}, {environment: MountainCarNoVel-v0, steps: 64}, "
    config = tiny(*CARRY, world + "{environment: CartPoleNoVel-v1, steps: 64}]", "policy.backend=norse",
                  "policy.critic=spiking", "world.1.kwargs.max_episode_steps=40")  # fmt: skip
    life = Life(config)
    assert Story(life, tmp_path).tell()[-1] == Ended("finished", 2 * 192)
    assert {f"{role}.0.weight" for role in ("actor", "critic")} < set(life.beings[0].organism.trunk)


ONE_STEP = "policy={state: carry, T: 1}"
WRONG: dict[str, tuple[list[str], str]] = {
    "T": (["policy={state: carry, T: 4}"], "policy.T: got 4, allowed is 1 with state: carry"),
    "T left out": (["policy={state: carry}"], "policy.T: got 4, allowed is 1 with state: carry"),
    "memory": (["policy.memory={gain: 2}"], "policy.memory: not allowed with state: reset; set state: carry"),
    "gain": ([ONE_STEP, "policy.memory={gain: 0}"], "policy.memory.gain: got 0.0, allowed are finite numbers > 0"),
    "key of memory": ([ONE_STEP, "policy.memory={tau: 1}"], "policy.memory.tau: unknown key; did you mean taus?"),
    "state": (["policy.state=keep"], "policy.state: got 'keep', allowed is 'reset' or 'carry'"),
    **{
        name: ([ONE_STEP, f"learner={{algorithm: {name}}}"],
               f"state: carry is not allowed with algorithm: {name}; set algorithm: PPO")
        for name in ("A2C", "DQN")
    },
    "of PPO alone": ([ONE_STEP, "learner.hyperparameters={rollout_buffer_kwargs: {}}"], "rollout_buffer_kwargs"),
    "hyperparameter": ([ONE_STEP, "learner.hyperparameters={gama: 1}"], "learner.hyperparameters.gama: unknown to"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_errors(tiny_yaml: Path, case: str) -> None:
    overrides, message = WRONG[case]
    (line,) = problems_of(tiny_yaml, *overrides)
    assert message in line


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*_novel.yaml")))
def test_shipped_configs(name: str) -> None:
    config: Any = kinds.load(name)[1]
    assert config.policy.state == "carry"
    assert all("NoVel" in task.environment for task in config.world)
