from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from config_problems import problems_of

from snn4.agent.config.file import CONFIGS, dump, find
from snn4.agent.life.config import LifeConfig, is_stream, is_training, load, load_continual, load_training

MINIMAL = "name: x\nworld: [{environment: CartPole-v1, steps: 10}]\n"


problems = partial(problems_of, load)


# What is right


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs(path: Path, written: Callable[[str], Path]) -> None:
    text = path.read_text()
    if "LunarLander" in text and importlib.util.find_spec("Box2D") is None:
        pytest.skip("Box2D is not installed")
    read: Callable[..., Any] = load_continual if is_stream(path) else load_training if is_training(path) else load
    config = read(path)
    assert read(path.stem) == config
    assert config.name == path.stem
    assert text.startswith("# "), "a config is a documented experiment"
    assert read(written(dump(config))) == config


def test_what_the_issue_lists_is_shipped() -> None:
    shipped = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert shipped >= {
        "cartpole", "acrobot", "mountain_car", "mountain_car_continuous", "pendulum", "lunar_lander", "classic_stream",
    }  # fmt: skip


def test_defaults_are_those_of_the_dataclasses(written: Callable[[str], Path]) -> None:
    config = load(written(MINIMAL))
    assert config == LifeConfig("x", config.world)
    assert (config.world[0].environment, config.world[0].steps) == ("CartPole-v1", 10)


def test_dump_writes_every_field_and_loads_again(
    tiny: Callable[..., LifeConfig], written: Callable[[str], Path]
) -> None:
    config = tiny(
        "seed=7", "policy.neuron.r=2.5", "policy.coding.kind=population", "world.0.kwargs={render_mode: null}",
        "world.0.learner={algorithm: DQN, hyperparameters: {train_freq: [4, step]}}", "learner.policy_kwargs={a: [1]}",
    )  # fmt: skip
    text = dump(config)
    assert load(written(text)) == config
    named = dataclasses.replace(config, name="1e3")  # a number to YAML 1.2
    assert load(written(dump(named))) == named
    assert set(yaml.safe_load(text)) == {field.name for field in dataclasses.fields(LifeConfig)}


def test_overrides_say_the_same_as_the_file(written: Callable[[str], Path]) -> None:
    path = written(
        "name: x\nseed: 3\nann_twin: true\nworld:\n- {environment: CartPole-v1, steps: 10}\n"
        "- {environment: Acrobot-v1, steps: 20, kwargs: {render_mode: null}}\n"
        "policy: {net_arch: [8, 9], neuron: {tau_mem: 5.0e-3}}\n"
        "learner: {hyperparameters: {learning_rate: lin_1e-3, n_steps: 64}}\n"
    )
    wanted = load(path)
    path = written("name: y\nworld: [{environment: CartPole-v1, steps: 1}, {environment: MountainCar-v0, steps: 20}]")
    overridden = load(path, [
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


def test_a_name_is_a_file_first_and_a_shipped_config_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Callable[[str], Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("cartpole") == CONFIGS / "cartpole.yaml"
    written(MINIMAL).rename("cartpole")
    assert load("cartpole").name == "x"


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
    found = problems(path)
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
    told = dict(line.removeprefix(f"{path}: ").split(": ", 1) for line in found)
    assert set(told) == set(expected)
    assert len(found) == len(expected)
    for key, fragments in expected.items():
        assert all(fragment in told[key] for fragment in fragments), told[key]


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (["seed=-1", "threads=0", "keep_checkpoints=0"], ["seed", "threads", "keep_checkpoints"]),
        (["name=a/b"], ["name"]),
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
    found = problems(tiny_yaml, *overrides)
    told = dict(line.removeprefix(f"{tiny_yaml}: ").split(": ", 1) for line in found)
    assert sorted(told) == sorted(keys)
    assert all("got " in what and "allowed" in what for what in told.values())


def test_a_place_has_one_reference(tiny_yaml: Path) -> None:
    stay = "{environment: CartPole-v1, steps: 9, reference: "
    (told,) = problems(tiny_yaml, f"world=[{stay}500}}, {stay}null}}, {stay}400}}]")
    assert "world.2.reference: got 400, allowed is 500 as at an earlier stay in CartPole-v1, or null" in told
    assert load(tiny_yaml, [f"world=[{stay}500}}, {stay}null}}, {stay}500}}]"])


@pytest.mark.parametrize("wrong", ["world.0.steps=0", "world.0.steps=a", "world.0.environment=5", "name=[1]", "name=/"])
def test_a_wrong_required_key_hides_no_other_problem(tiny_yaml: Path, wrong: str) -> None:
    assert len(problems(tiny_yaml, wrong, "seed=-1", "threads=0")) == 3


@pytest.mark.parametrize("key", ["Seed", "Policy", "nullable", "tuples"])
def test_keys_that_look_like_types(tiny_yaml: Path, key: str) -> None:
    (found,) = problems(tiny_yaml, f"{key}=3")
    assert found.startswith(f"{tiny_yaml}: {key}: unknown key")


@pytest.mark.parametrize("key", ["policy.Net_arch", "policy.neuron.Tau_mem", "world.0.Steps"])
def test_nested_keys_that_look_like_types(tiny_yaml: Path, key: str) -> None:
    (found,) = problems(tiny_yaml, f"{key}=3")
    assert found.startswith(f"{tiny_yaml}: {key}: unknown key")


@pytest.mark.parametrize("missing", ["name", "world", "environment", "steps"])
def test_a_missing_key(missing: str, written: Callable[[str], Path]) -> None:
    raw: dict[str, Any] = {"name": "x", "world": [{"environment": "CartPole-v1", "steps": 10}]}
    (raw if missing in raw else raw["world"][0]).pop(missing)
    (found,) = problems(written(yaml.safe_dump(raw)))
    key = missing if missing in ("name", "world") else f"world.0.{missing}"
    assert re.search(rf"{re.escape(key)}: .*(missing|no task)", found)
