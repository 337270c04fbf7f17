"""Tiny lives, and the commands: called in this process, or as the processes that people start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Result, called
from run_folders import only

from snn4.agent import kinds, runner
from snn4.agent.cli import main

HERE = Path(__file__).parent
TINY = """\
name: tiny
world:
  - environment: CartPole-v1
    steps: 512
policy: {net_arch: [16, 16], T: 2}
learner:
  algorithm: PPO
  n_envs: 4
  hyperparameters: {n_steps: 16, batch_size: 64, n_epochs: 4, gamma: 0.98, learning_rate: lin_3e-3}
evaluation: {every: 128, episodes: 3, test_episodes: 5}
"""
"""Rollouts of 64 steps, a validation and a checkpoint after every second one: half a second."""
TINY_TRAINING = """\
name: tiny-digits
data: {name: digits, limit: 160, augmentation: crop, pad: 1}
network: {name: vgg-small, T: 2, options: {channels: [4, 8]}}
training: {epochs: 2, batch_size: 32, learning_rate: 0.02, mixup: 0.2, ema: 0.8}
ann_twin: true
threads: 1
"""
"""Five batches, a validation and a checkpoint an epoch, of scikit-learn's digits: a second; the test takes more."""

TINY_STREAM = """\
name: tiny-stream
stream:
  data: {name: digits, limit: 240, augmentation: crop, pad: 1}
  classes: [[0, 1], [2, 3], [4, 5]]
  experiences: 3
network: {name: vgg-small, T: 2, neuron: {v_threshold: 0.5}, options: {channels: [4, 8]}}
strategy: {name: replay, memory: 20}
training: {epochs: 2, batch_size: 16, learning_rate: 0.01}
ann_twin: true
threads: 1
"""
"""Three updates an epoch, for each of three experiences and two beings: a second, but for Avalanche's import."""


TINY_TRANSFORMATION = """\
name: tiny-snn
kind: transformation
model: {{source: "{source}"}}
data: {{name: digits, limit: 160}}
convert: {{method: qcfs, T: 4, levels: 4, images: 100}}
finetune: {{epochs: 2, batch_size: 32, optimizer: sgd, learning_rate: 0.01}}
examined: 30
threads: 1
"""
"""The ANN twin of the tiny training, finetuned by five batches an epoch."""


TINY_COMPRESSION = """\
name: tiny-small
kind: transformation
model: {{source: "{source}"}}
data: {{name: digits, limit: 160}}
compress: {{shrink: 0.5, prune: 0.3, bits: 4}}
finetune: {{epochs: 2, batch_size: 32, learning_rate: 0.001}}
distillation: 0.5
examined: 60
threads: 1
"""
"""The spiking network of the tiny training with half of its channels, in five batches an epoch."""


TINY_EVOLUTION = """\
name: tiny-evolution
kind: evolution
subject:
  name: tiny
  world: [{environment: CartPole-v1, steps: 64}]
  policy: {net_arch: [8, 8], T: 2, neuron: {v_threshold: 0.3}}
  learner: {algorithm: PPO, n_envs: 4, hyperparameters: {n_steps: 16, batch_size: 64, n_epochs: 1}}
  evaluation: {every: 64, episodes: 2, test_episodes: 2}
search:
  generations: 2
  population: 3
  objectives: [parameters, return]
  prefer: parameters
  genes: [policy.T, policy.net_arch]
  ranges: {policy.net_arch.0: [4, 8], policy.net_arch.1: [4, 8]}
"""
"""One rollout a trial; it is known before who will be chosen: whoever is smallest."""


def file_with(text: str) -> Any:
    """A fixture: a config file with this text."""

    @pytest.fixture(scope="session")
    def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("configs") / "config.yaml"
        path.write_text(text)
        return path

    return path


def config_in(file: str) -> Any:
    """A fixture: the config in the file that the fixture of this name is, with overrides."""

    @pytest.fixture(scope="session")
    def config(request: pytest.FixtureRequest) -> Callable[..., Any]:
        path = request.getfixturevalue(file)
        return lambda *overrides: kinds.load(path, overrides)[1]

    return config


def finished(config: str) -> Any:
    """A fixture: the folder of a run of this config that went to its end. Tests leave it unchanged."""

    @pytest.fixture(scope="session")
    def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
        runs, whole = tmp_path_factory.mktemp("runs"), request.getfixturevalue(config)()
        runner.begin(kinds.named(whole.kind), whole, runs, quiet=True)
        return only(runs)

    return folder


tiny_yaml, tiny = file_with(TINY), config_in("tiny_yaml")
digits_yaml, digits = file_with(TINY_TRAINING), config_in("digits_yaml")
stream_yaml, streamed = file_with(TINY_STREAM), config_in("stream_yaml")
trained, lived = finished("digits"), finished("streamed")


@pytest.fixture(scope="session")
def transformation_yaml(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "config.yaml"
    path.write_text(TINY_TRANSFORMATION.format(source=trained))
    return path


@pytest.fixture(scope="session")
def compression_yaml(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "config.yaml"
    path.write_text(TINY_COMPRESSION.format(source=trained))
    return path


evolution_yaml, evolved = file_with(TINY_EVOLUTION), config_in("evolution_yaml")
transformed = config_in("transformation_yaml")
converted = finished("transformed")
compression = config_in("compression_yaml")
compressed = finished("compression")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """``snn4-agent`` with these arguments, in this process; a traceback would be an error of the test."""

    def call(*arguments: str | Path) -> Result:
        return called(main, arguments, monkeypatch, capsys)

    return call


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """``snn4-agent`` with these arguments, in a process of its own, which also knows ``strange_worlds``."""

    def start(*arguments: str | Path, prepare: str = "", **environment: str) -> subprocess.Popen[str]:
        known = {name: value for name, value in os.environ.items() if name != "SNN4_RUNS"}
        return subprocess.Popen(
            [sys.executable, "-c", f"{prepare}\nfrom snn4.agent.cli import main\nmain()", *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**known, "PYTHONPATH": str(HERE), "COLUMNS": "200", **environment},
        )  # fmt: skip

    return start


@pytest.fixture
def strange_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this process make ``strange_worlds:…`` environments."""
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """A config file with this content."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "my.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


IN_SEVERAL_PROCESSES = ("test_kill_nine_at_any_time", "test_signals", "test_a_full_disk")
"""Tests of every kind that start several processes each, which takes seconds. They test much of the same code."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Leave these tests of kinds other than lives and trainings to ``-m slow``."""
    for item in items:
        if item.originalname in IN_SEVERAL_PROCESSES and item.callspec.params["run"].kind not in ("life", "training"):
            item.add_marker(pytest.mark.slow)
