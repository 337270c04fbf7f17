"""What can leave for a chip: the policy of a life in one of its tasks, a compressed one, or a spiking classifier."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3.common.policies import BasePolicy

from snn4.agent import kinds
from snn4.agent.life import kind as life
from snn4.agent.life.initial import LIFE
from snn4.agent.life.trained import trained_policy
from snn4.agent.models.files import ModelError, find_model
from snn4.agent.models.sources import open_model
from snn4.agent.run.journal import CONFIG
from snn4.envs.data.datasets import DataConfig
from snn4.envs.world import TaskConfig
from snn4.policies.export.describing import describe_classifier
from snn4.policies.export.description import Description, NotExportable
from snn4.policies.export.policies import describe_policy
from snn4.policies.networks.classifier import SpikingClassifier


@dataclass(frozen=True)
class PolicySource:
    """A spiking policy, and the task in which it acts."""

    name: str
    """Of the run, for file names."""
    folder: Path
    description: Description
    policy: BasePolicy
    task: TaskConfig
    normalization: dict[str, Any] | None = None
    """Statistics of observations, where the policy sees them normalised (`VecNormalize`)."""


@dataclass(frozen=True)
class ClassifierSource:
    """A spiking classifier, and the data that it has learned."""

    name: str
    folder: Path
    description: Description
    network: SpikingClassifier
    data: DataConfig
    trained: bool = True
    """Whether it comes from a training, not from a conversion."""


Source = PolicySource | ClassifierSource


class Trained(NamedTuple):
    """A policy, before it is described."""

    name: str
    """Of the run."""
    folder: Path
    policy: Any
    task: TaskConfig
    normalization: dict[str, Any] | None


def open_source(run: str, task: str | None = None) -> Source:
    """The spiking network in ``run``: the folder of a life, of a training or a transformation, or ``zoo:NAME``.

    Args:
        run: where it is.
        task: of a life with several tasks, the name of one; None takes the last that it has learned.

    Raises:
        ModelError, ConfigError: there is none, or a part of it has no description; the message names the run.
    """
    opened = _opened(run, task)
    try:
        if not isinstance(opened, Trained):
            return _of_classifier(*opened)
        name, folder, policy, world, normalization = opened
        return PolicySource(name, folder, describe_policy(policy), policy, world, normalization)
    except NotExportable as error:
        raise ModelError(f"{run}: {error}") from error


def open_policy(run: str, task: str | None = None) -> Trained:
    """The policy in ``run``, the folder of a life or of its compression; see `open_source`."""
    opened = _opened(run, task)
    if not isinstance(opened, Trained):
        raise ModelError(f"{run}: got a classifier, allowed are a life, and its compression")
    return opened


def _opened(run: str, task: str | None) -> Trained | tuple[Path, Any]:
    """The policy in ``run``, or the folder and the config of a classifier."""
    folder = find_model(run)
    if not (folder / CONFIG).is_file():
        got = f"has no {CONFIG}" if folder.is_dir() else "no such folder"
        raise ModelError(f"{run}: {got}; allowed are the folder of a run, and zoo:NAME")
    kind, config = kinds.load(folder / CONFIG)
    if kind.name == "life":
        trained = trained_policy(folder, task)
        return Trained(config.name, folder, trained.policy, trained.task, trained.normalization)
    if (folder / LIFE).is_file():
        return _of_compressed(folder, config.name, task)
    if task is not None:
        raise ModelError(f"--task: not allowed for {run}, which is no life; leave it out")
    if kind.name not in ("training", "transformation") or getattr(config, "environment", None) is not None:
        got = "the conversion of an agent" if kind.name == "transformation" else f"a {kind.name}"
        raise ModelError(f"{run}: got {got}, allowed are a life, a training, a converted classifier, a compression")
    return folder, config


def _of_compressed(folder: Path, name: str, wanted: str | None) -> Trained:
    """The policy with which the life that a compression has written would begin."""
    _, config = kinds.load(folder / LIFE, [f"policy.initial={json.dumps(str(folder))}"])
    being = life.prepare(config, life.processes(config)).beings[0]
    task = being.world.tasks[0]
    if wanted not in (None, task.name, task.label):
        raise ModelError(f"--task: got {wanted}, allowed is {task.name}, that of {folder}; leave it out")
    policy = being.policy(task)
    policy.set_training_mode(False)
    return Trained(name, folder, policy, task, being.organism.tasks[task.name].normalization)


def _of_classifier(folder: Path, config: Any) -> ClassifierSource:
    network, about = open_model(str(folder / "model.safetensors"))
    if not isinstance(network, SpikingClassifier):
        raise ModelError(f"{folder}: got an ANN, allowed is a spiking network; convert it with: snn4-agent convert")
    description = dataclasses.replace(
        describe_classifier(network), classes=about.classes, mean=about.mean, std=about.std
    )
    return ClassifierSource(config.name, folder, description, network, config.data, config.kind == "training")
