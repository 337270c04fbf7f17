"""What is the same for the configs of every kind."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from config_problems import by_key, problems_of

from snn4.agent import kinds
from snn4.agent.config.file import CONFIGS, dump
from snn4.agent.life.config import LifeTask
from snn4.envs.data.datasets import DataConfig
from snn4.envs.stream_config import StreamConfig

Write = Callable[[str], Path]


@dataclass(frozen=True)
class Case:
    kind: str
    minimal: str
    """YAML below the name."""
    second: Any
    """The first field after the name, of the minimal config."""
    changes: tuple[str, ...]
    """Overrides of the minimal config."""


CASES = [
    Case(
        "life", "world: [{environment: CartPole-v1, steps: 10}]", (LifeTask("CartPole-v1", 10),),
        ("policy.neuron.r=2.5", "policy.coding.kind=population", "world.0.kwargs={render_mode: null}",
         "world.0.learner={algorithm: DQN, hyperparameters: {train_freq: [4, step]}}",
         "learner.policy_kwargs={a: [1]}"),
    ),
    Case(
        "training", "data: {name: mnist}", DataConfig("mnist"),
        ("training.T=[[5, 1], [5, 4]]", "fabric.precision=bf16-mixed", "network.neuron.r=2.5"),
    ),
    Case(
        "stream", "stream: {data: {name: mnist}}", StreamConfig(DataConfig("mnist")),
        ("strategy={name: ewc, options: {ewc_lambda: 3}}", "training.passes=2"),
    ),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda case: case.kind)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def minimal(case: Case, written: Write) -> Path:
    return written(f"name: x\n{case.minimal}\n")


def test_defaults_are_those_of_the_dataclasses(case: Case, minimal: Path) -> None:
    kind, config = kinds.load(minimal)
    assert (kind.name, config.kind) == (case.kind, case.kind)
    assert config == kind.schema("x", case.second)
    assert config.threads == 0, "what is fastest"


def test_dump_writes_every_field_and_loads_again(case: Case, minimal: Path, written: Write) -> None:
    kind, config = kinds.load(minimal, ["seed=7", *case.changes])
    for changed in (config, dataclasses.replace(config, name="1e3")):  # a number to YAML 1.2
        text = dump(changed)
        assert kinds.load(written(text)) == (kind, changed)
        fields = yaml.safe_load(text)
        assert list(fields) == [field.name for field in dataclasses.fields(kind.schema)]
        assert fields["kind"] == case.kind


def test_all_problems_at_once(case: Case, minimal: Path) -> None:
    expected = {
        "sead=3": "unknown key; did you mean seed? Allowed are name, ",
        "seed=-1": "got -1, allowed is a whole number from 0 to",
        "name=a b": "got 'a b', allowed are letters",
        "threads=-1": "got -1, allowed is a whole number >= 0",
        "keep_checkpoints=0": "got 0, allowed is a whole number >= 1",
        "ann_twin=maybe": "got 'maybe', allowed is a valid boolean",
        "kind=dream": f"got 'dream', allowed is '{case.kind}'",
    }
    problems = by_key(minimal, *expected)
    assert set(problems) == {override.partition("=")[0] for override in expected}
    for override, message in expected.items():
        assert problems[override.partition("=")[0]].startswith(message)


def test_kinds_are_told_apart_by_their_name(case: Case, written: Write) -> None:
    """A config of version 0.1 has none, and is known by its keys (all other tests here)."""
    assert kinds.load(written(f"name: x\nkind: {case.kind}\n{case.minimal}\n"))[0].name == case.kind
    if case.kind == "life":
        assert by_key(written("name: x\nkind: life\nstream: {}\n")).keys() == {"stream", "world"}
    else:  # whose fields all have defaults
        assert kinds.load(written(f"name: x\nkind: {case.kind}\n"))[0].name == case.kind


@pytest.mark.parametrize("name", ["dream", "null", "[life]", "3"])
def test_no_such_kind(name: str, written: Write) -> None:
    path, allowed = written(f"name: x\nkind: {name}\n{CASES[0].minimal}\n"), ", ".join(kinds.NAMES)
    assert problems_of(path) == [f"kind: got {yaml.safe_load(name)!r}, allowed are {allowed}"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs(path: Path, written: Write) -> None:
    text = path.read_text()
    for word, module in {"LunarLander": "Box2D", "MinAtar": "minatar", "MuJoCo": "mujoco"}.items():
        if word in text and importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    kind, config = kinds.load(path)
    assert kinds.load(path.stem) == kinds.load(written(dump(config))) == (kind, config)
    assert config.name == path.stem
    assert config.ann_twin or kind.name != "stream"
    assert text.startswith("# "), "a config is a documented experiment"


def test_what_is_shipped() -> None:
    assert {path.stem for path in CONFIGS.glob("*.yaml")} >= {
        "cartpole", "acrobot", "mountain_car", "mountain_car_continuous", "pendulum", "lunar_lander", "classic_stream",
        "split_mnist", "split_cifar10", "split_cifar100", "permuted_mnist", "split_nmnist",
    }  # fmt: skip
