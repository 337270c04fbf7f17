from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml
from config_problems import by_key

from snn4.agent.config.file import CONFIGS, ConfigError, dump
from snn4.agent.life.config import ContinualConfig, is_stream, is_training, load, load_continual, load_training
from snn4.envs.data.datasets import DataConfig
from snn4.envs.stream_config import StreamConfig

Streamed = Callable[..., ContinualConfig]
SHIPPED = [path.stem for path in sorted(CONFIGS.glob("*.yaml")) if is_stream(path)]


problems = partial(by_key, load_continual)


def test_defaults_are_those_of_the_dataclasses(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("name: x\nstream: {data: {name: mnist}}\n")
    assert load_continual(path) == ContinualConfig("x", StreamConfig(DataConfig("mnist")))


def test_dump_writes_every_field_and_loads_again(streamed: Streamed, tmp_path: Path) -> None:
    config = streamed("seed=7", "strategy={name: ewc, options: {ewc_lambda: 3}}", "training.passes=2")
    path = tmp_path / "dumped.yaml"
    path.write_text(dump(config))
    assert load_continual(path) == config
    assert set(yaml.safe_load(dump(config))) == {field.name for field in dataclasses.fields(ContinualConfig)}


def test_all_problems_at_once(stream_yaml: Path) -> None:
    found = problems(
        stream_yaml, "sed=3", "seed=-1", "name=a b", "threads=-1", "stream.data.name=digit", "stream.senario=task",
        "strategy.name=reply", "training.epochs=0", "training.optimizer=adam", "network.name=vgg", "evaluate_on=train",
        "keep_checkpoints=0",
    )  # fmt: skip
    expected = {
        "sed": ["unknown key", "did you mean seed?"],
        "seed": ["got -1", "from 0 to"],
        "name": ["got 'a b'", "allowed"],
        "threads": ["got -1", ">= 0"],
        "stream.data.name": ["got 'digit'", "did you mean digits?"],
        "stream.senario": ["unknown key", "did you mean scenario?"],
        "strategy.name": ["got 'reply'", "did you mean replay?"],
        "training.epochs": ["got 0", ">= 1"],
        "training.optimizer": ["got 'adam'", "'adamw' or 'sgd'"],
        "network.name": ["got 'vgg'", "vgg-small"],
        "evaluate_on": ["got 'train'", "'test' or 'validation'"],
        "keep_checkpoints": ["got 0", ">= 1"],
    }
    assert set(found) == set(expected)
    for key, fragments in expected.items():
        assert all(fragment in found[key] for fragment in fragments), found[key]


@pytest.mark.parametrize(
    ("overrides", "key", "said"),
    [(["stream.classes=[[0, 1], [1, 2], [3, 4]]"], "stream.classes", "class 1 twice"),
     (["stream.classes=[[0, 1], [2, 3], [4, 11]]"], "stream.classes", "got 11"),
     (["stream.classes=null", "stream.experiences=20"], "stream.experiences", "1 to 10, the classes of digits"),
     (["stream.classes=null", "stream.experiences=3"], "stream.experiences", "allowed are 1, 2, 5, 10"),
     (["stream.shift=rotate"], "stream.shift", "allowed is none; or take domain"),
     (["stream.classes=null", "stream.scenario=domain", "stream.shift=permute", "stream.data.augmentation=crop"],
      "stream.data.augmentation", "got crop with shift permute"),
     (["strategy.name=task-gates"], "strategy", "needs task labels, on a stream without"),
     (["strategy.options={alpha: 1}"], "strategy.options", "got 'alpha'"),
     (["strategy.memory=0"], "strategy.memory", "got 0")],
)  # fmt: skip
def test_what_cannot_be_lived(stream_yaml: Path, overrides: list[str], key: str, said: str) -> None:
    found = problems(stream_yaml, *overrides)
    assert list(found) == [key]
    assert said in found[key]


def test_streams_lives_and_trainings_are_told_apart(
    stream_yaml: Path, digits_yaml: Path, tiny_yaml: Path, tmp_path: Path
) -> None:
    assert [is_stream(path) for path in (stream_yaml, digits_yaml, tiny_yaml)] == [True, False, False]
    assert not is_training(stream_yaml)
    assert is_training(digits_yaml)
    with pytest.raises(ConfigError, match=r"describes a stream, not a training; start it with: snn4-agent run"):
        load_training(stream_yaml)
    with pytest.raises(ConfigError, match=r"describes a stream, not a life"):
        load(stream_yaml)
    with pytest.raises(ConfigError, match=r"describes a training, not a stream; start it with: snn4-agent train"):
        load_continual(digits_yaml)
    with pytest.raises(ConfigError, match=r"describes a life, not a stream; start it with: snn4-agent run"):
        load_continual(tiny_yaml)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_streams(name: str) -> None:
    config = load_continual(name)
    assert config.name == name
    assert config.ann_twin


def test_there_are_shipped_streams() -> None:
    assert {"split_mnist", "split_cifar10", "split_cifar100", "permuted_mnist", "split_nmnist"} <= set(SHIPPED)


def test_configs_are_read_without_avalanche(stream_yaml: Path) -> None:
    script = (
        "import sys; from snn4.agent.life.config import load_continual; load_continual(sys.argv[1])\n"
        "import snn4.agent.stream.session\nprint('avalanche' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, stream_yaml], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
