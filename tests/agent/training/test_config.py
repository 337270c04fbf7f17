from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml
from config_problems import by_key

from snn4.agent.config.file import ConfigError, dump
from snn4.agent.life.config import TrainingConfig, is_training, load, load_training
from snn4.envs.data.datasets import DataConfig

Digits = Callable[..., TrainingConfig]


problems = partial(by_key, load_training)


def test_defaults_are_those_of_the_dataclasses(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("name: x\ndata: {name: mnist}\n")
    assert load_training(path) == TrainingConfig("x", DataConfig("mnist"))


def test_dump_writes_every_field_and_loads_again(digits: Digits, tmp_path: Path) -> None:
    config = digits("training.T=[[1, 1], [1, 4]]", "fabric.precision=bf16-mixed", "network.neuron.r=2.5", "seed=7")
    path = tmp_path / "dumped.yaml"
    path.write_text(dump(config))
    assert load_training(path) == config
    assert set(yaml.safe_load(dump(config))) == {field.name for field in dataclasses.fields(TrainingConfig)}


def test_all_problems_at_once(digits_yaml: Path) -> None:
    found = problems(
        digits_yaml, "epocs=3", "seed=-1", "data.name=fashon-mnist", "network.name=vgg", "network.T=2.5",
        "training.epochs=0", "training.learning_rate=fast", "training.optimizer=adam", "training.T=3",
        "fabric.precision=16", "fabric.devices=0", "workers=-1", "training.nesterov=true",
    )  # fmt: skip
    expected = {
        "epocs": ["unknown key", "Allowed are name, data"],
        "seed": ["got -1", "from 0 to"],
        "workers": ["got -1", ">= 0"],
        "data.name": ["got 'fashon-mnist'", "did you mean fashion-mnist?"],
        "network.name": ["got 'vgg'", "vgg-small"],
        "network.T": ["got 2.5", "integer"],
        "training.epochs": ["got 0", ">= 1"],
        "training.learning_rate": ["got 'fast'", "number"],
        "training.optimizer": ["got 'adam'", "'adamw' or 'sgd'"],
        "training.T": ["got 3", "allowed"],
        "training.nesterov": ["unknown key"],
        "fabric.precision": ["got 16", "'32-true' or 'bf16-mixed'"],
        "fabric.devices": ["got 0", ">= 1"],
    }
    assert set(found) == set(expected)
    for key, fragments in expected.items():
        assert all(fragment in found[key] for fragment in fragments), found[key]


def test_a_wrong_name_hides_no_other_problem(digits_yaml: Path) -> None:
    """Lives need a name, data sets and networks have a default one."""
    assert set(problems(digits_yaml, "data.name=x", "data.validation=5")) == {"data.name", "data.validation"}
    assert set(problems(digits_yaml, "name=/", "seed=-1")) == {"name", "seed"}


@pytest.mark.parametrize(
    ("override", "key"),
    [("fabric.accelerator=tpu", "fabric.accelerator"), ("fabric.strategy=fsdp", "fabric.strategy"),
     ("keep_checkpoints=0", "keep_checkpoints"), ("threads=-1", "threads"),
     ("training.T=[[1, 2]]", "training.T"), ("network.options={colour: 3}", "network.options"),
     ("data.augmentation=flip", "data.augmentation"), ("network.T=0", "network.T"), ("flip=true", "flip")],
)  # fmt: skip
def test_impossible_values(digits_yaml: Path, override: str, key: str) -> None:
    found = problems(digits_yaml, override)
    assert list(found) == [key]
    assert "got " in found[key]
    assert "allowed" in found[key]


def test_lives_and_trainings_are_told_apart(digits_yaml: Path, tiny_yaml: Path, tmp_path: Path) -> None:
    assert is_training(digits_yaml)
    assert not is_training(tiny_yaml)
    assert not is_training(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match=r"describes a training.*snn4-agent train"):
        load(digits_yaml)
    with pytest.raises(ConfigError, match=r"describes a life.*snn4-agent run"):
        load_training(tiny_yaml)
