"""What can leave for a chip: the policy of a life in one of its tasks, a compressed one, or a spiking classifier."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.policies import BasePolicy

from snn4.agent import kinds
from snn4.agent.life.initial import LIFE
from snn4.agent.life.trained import trained_policy
from snn4.agent.models.files import ModelError, find_model
from snn4.agent.models.policies import TrainedPolicy
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


def open_source(run: str, task: str | None = None) -> Source:
    """The spiking network in ``run``: the folder of a life, of a training or a transformation, or ``zoo:NAME``.

    Args:
        run: where it is.
        task: of a life with several tasks, the name of one; None takes the last that it has learned.

    Raises:
        ModelError, ConfigError: there is none, or a part of it has no description; the message names the run.
    """
    folder, config, trained = _opened(run, task)
    try:
        if trained is None:
            return _of_classifier(folder, config)
        description = describe_policy(trained.policy)
        return PolicySource(config.name, folder, description, trained.policy, trained.task, trained.normalization)
    except NotExportable as error:
        raise ModelError(f"{run}: {error}") from error


def open_policy(run: str, task: str | None = None) -> TrainedPolicy:
    """The policy in ``run``, the folder of a life or of its compression; see `open_source`."""
    *_, trained = _opened(run, task)
    if trained is None:
        raise ModelError(f"{run}: got a classifier, allowed are a life, and its compression")
    return trained


def _opened(run: str, task: str | None) -> tuple[Path, Any, TrainedPolicy | None]:
    """The folder, its config, and the policy in it; None for a classifier."""
    folder = find_model(run)
    if not (folder / CONFIG).is_file():
        got = f"has no {CONFIG}" if folder.is_dir() else "no such folder"
        raise ModelError(f"{run}: {got}; allowed are the folder of a run, and zoo:NAME")
    kind, config = kinds.load(folder / CONFIG)
    if kind.name == "life" or (folder / LIFE).is_file():
        return folder, config, trained_policy(folder, task)
    if task is not None:
        raise ModelError(f"--task: not allowed for {run}, which is no life; leave it out")
    if kind.name not in ("training", "transformation") or getattr(config, "environment", None) is not None:
        got = "the conversion of an agent" if kind.name == "transformation" else f"a {kind.name}"
        raise ModelError(f"{run}: got {got}, allowed are a life, a training, a converted classifier, a compression")
    return folder, config, None


def _of_classifier(folder: Path, config: Any) -> ClassifierSource:
    network, about = open_model(str(folder / "model.safetensors"))
    if not isinstance(network, SpikingClassifier):
        raise ModelError(f"{folder}: got an ANN, allowed is a spiking network; convert it with: snn4-agent convert")
    description = dataclasses.replace(
        describe_classifier(network), classes=about.classes, mean=about.mean, std=about.std
    )
    return ClassifierSource(config.name, folder, description, network, config.data, config.kind == "training")
