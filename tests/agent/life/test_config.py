from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from config_problems import assert_problems, by_key, problems_of

from snn4.agent import kinds
from snn4.agent.life.config import LifeConfig

# What is right


def test_overrides_say_the_same_as_the_file(written: Callable[[str], Path]) -> None:
    path = written(
        "name: x\nseed: 3\nann_twin: true\nworld:\n- {environment: CartPole-v1, steps: 10}\n"
        "- {environment: Acrobot-v1, steps: 20, kwargs: {render_mode: null}}\n"
        "policy: {net_arch: [8, 9], neuron: {tau_mem: 5.0e-3}}\n"
        "learner: {hyperparameters: {learning_rate: lin_1e-3, n_steps: 64}}\n"
    )
    wanted = kinds.load(path)
    path = written("name: y\nworld: [{environment: CartPole-v1, steps: 1}, {environment: MountainCar-v0, steps: 20}]")
    overridden = kinds.load(path, [
        "name=x", "seed=3", "ann_twin=true", "world.0.steps=10", "world.1.environment=Acrobot-v1",
        "world.1.kwargs.render_mode=null", "policy.net_arch=[8, 1]", "policy.net_arch.1=9",
        "policy.neuron.tau_mem=5e-3", "learner.hyperparameters={learning_rate: lin_1e-3}",
        "learner.hyperparameters.n_steps=64",
    ])  # fmt: skip
    assert overridden == wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("5E-2", 0.05), ("1.5e-3", 0.0015), ("2e0", 2.0), ("+1e-1", 0.1), ("1_0e-3", 0.01), ("1", 1.0)],
)
def test_floats_are_written_as_in_papers(tiny: Callable[..., LifeConfig], text: str, value: float) -> None:
    config = tiny(f"policy.neuron.tau_mem={text}", f"learner.hyperparameters.learning_rate={text}")
    assert config.policy.neuron.tau_mem == value
    assert config.learner.hyperparameters["learning_rate"] == value


# What is wrong


def test_all_problems_at_once_with_file_key_value_and_what_is_allowed(written: Callable[[str], Path]) -> None:
    path = written("""\
name: x
sead: 3
ann_twin: maybe
threads: many
world:
  - {environment: CartPole-v1, steps: 10, stepz: 3, learner: {algoritm: DQN, n_envs: 0}}
  - {environment: CartPole-v2, steps: 10}
  - {environment: Pendulum-v1, steps: 10, learner: {algorithm: DQN, hyperparameters: {bufer_size: 5}}}
policy: {kind: spikin, T: 2.5, neuron: {tau_mem: -1, taumem: 3, reset: hrd}, coding: {neurons_per_input: 1}}
learner: {hyperparameters: {n_steps: 1.5, gama: 0.9}, n_envs: [1]}
evaluation: 5
""")
    expected = {
        "sead": ["unknown key", "did you mean seed?", "ann_twin"],
        "ann_twin": ["got 'maybe'", "boolean"],
        "threads": ["got 'many'", "integer"],
        "world.0.stepz": ["unknown key", "did you mean steps?"],
        "world.0.learner.algoritm": ["unknown key", "did you mean algorithm?"],
        "world.0.learner.n_envs": ["got 0", ">= 1"],
        "world.1.environment": ["got 'CartPole-v2'", "did you mean CartPole-v1"],
        "world.2.environment": ["Box actions", "DQN", "PPO", "SAC", "TD3"],
        "world.2.learner.hyperparameters.bufer_size": ["unknown to DQN", "did you mean buffer_size?"],
        "policy.kind": ["got 'spikin'", "'spiking' or 'ann'"],
        "policy.T": ["got 2.5", "integer"],
        "policy.neuron.tau_mem": ["got -1", "> 0"],
        "policy.neuron.taumem": ["unknown key", "did you mean tau_mem?"],
        "policy.neuron.reset": ["got 'hrd'", "'soft' or 'hard'"],
        "policy.coding.neurons_per_input": ["got 1", ">= 2"],
        "learner.hyperparameters.n_steps": ["got 1.5", "int"],
        "learner.hyperparameters.gama": ["unknown to PPO", "did you mean gamma?"],
        "learner.n_envs": ["got [1]", "integer"],
        "evaluation": ["got 5", "mapping"],
    }
    assert_problems(expected, path)


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (["evaluation.every=0", "evaluation.episodes=-1"], ["evaluation.every", "evaluation.episodes"]),
        (["policy.T=0", "policy.net_arch=[]"], ["policy.T", "policy.net_arch"]),
        (["policy.net_arch=[8, 0]"], ["policy.net_arch"]),
        (["policy.neuron.v_reset=2", "policy.neuron.dt=0"], ["policy.neuron.v_reset", "policy.neuron.dt"]),
        (["policy.neuron.slope=.nan"], ["policy.neuron.slope"]),
        (["policy.coding.width=0", "policy.coding.unbounded_range=.inf"],
         ["policy.coding.width", "policy.coding.unbounded_range"]),
        (["world=[]"], ["world"]),
    ],
    ids=lambda values: " ".join(values),
)  # fmt: skip
def test_impossible_values_are_all_told(tiny_yaml: Path, overrides: list[str], keys: list[str]) -> None:
    problems = by_key(tiny_yaml, *overrides)
    assert sorted(problems) == sorted(keys)
    assert all("got " in what and "allowed" in what for what in problems.values())


def test_a_place_has_one_reference(tiny_yaml: Path) -> None:
    stay = "{environment: CartPole-v1, steps: 9, reference: "
    (problem,) = problems_of(tiny_yaml, f"world=[{stay}500}}, {stay}null}}, {stay}400}}]")
    assert "world.2.reference: got 400, allowed is 500 as in an earlier task CartPole-v1, or null" in problem
    assert kinds.load(tiny_yaml, [f"world=[{stay}500}}, {stay}null}}, {stay}500}}]"])


@pytest.mark.parametrize("wrong", ["world.0.steps=0", "world.0.steps=a", "world.0.environment=5", "name=[1]", "name=/"])
def test_a_wrong_required_key_hides_no_other_problem(tiny_yaml: Path, wrong: str) -> None:
    assert len(problems_of(tiny_yaml, wrong, "seed=-1", "threads=-1")) == 3


def test_keys_that_look_like_types(tiny_yaml: Path) -> None:
    keys = ["Seed", "Policy", "nullable", "tuples", "policy.Net_arch", "policy.neuron.Tau_mem", "world.0.Steps"]
    problems = by_key(tiny_yaml, *(f"{key}=3" for key in keys))
    assert set(problems) == set(keys)
    assert all(what.startswith("unknown key") for what in problems.values())


@pytest.mark.parametrize("missing", ["name", "world", "environment", "steps"])
def test_a_missing_key(missing: str, written: Callable[[str], Path]) -> None:
    raw: dict[str, Any] = {"name": "x", "world": [{"environment": "CartPole-v1", "steps": 10}]}
    (raw if missing in raw else raw["world"][0]).pop(missing)
    (problem,) = problems_of(written(yaml.safe_dump(raw)))
    key = missing if missing in ("name", "world") else f"world.0.{missing}"
    assert re.match(rf"{re.escape(key)}: .*(missing|no task)", problem)
