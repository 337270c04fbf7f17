"""The students of a training: a classifier and its ANN twin, built for the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from snn4.agent.config.file import ConfigError
from snn4.agent.models.other_data import read
from snn4.agent.models.twins import has_whitening, looked_at, networks, whiten, wrong_steps
from snn4.agent.training.config import TrainingConfig
from snn4.agent.training.initial import data_for, start
from snn4.envs.data.datasets import Data
from snn4.policies.networks.classifier import Network
from snn4.policies.networks.joins import BurnIn
from snn4.policies.normalization import StepNorm2d


@dataclass
class Student:
    """A classifier that learns, the spiking one or its twin, and its best weights on validation data."""

    name: str
    network: Network
    best: dict[str, Any] = field(default_factory=dict)
    """``top1`` on validation data, the ``epoch``, and the ``weights``."""
    images: int = 0
    """Images learned from so far."""
    finished: bool = False


def data_and_students(config: TrainingConfig) -> tuple[Data, list[Student]]:
    """Data and students before the training; the same seed gives the same weights, those of ``config.initial`` aside.

    Raises:
        ConfigError: the data cannot be read, or network, recipe or initial weights do not fit the data or each other.
        MissingData: the data is missing.
        ModelError: there are no initial weights, or they are damaged.
    """
    data = read(config.data, config.name) if config.initial is None else data_for(config)
    if problems := list(_misfits(config, data)):
        raise ConfigError(config.name, problems)
    pair = students(config, data)
    if problems := [*_too_long(config, pair), *_too_short(config, pair), *_without_rates(config, pair)]:
        raise ConfigError(config.name, problems)
    untrained = [student.network for student in pair]
    if config.initial is not None:
        start(config, {student.name: student.network for student in pair})
    elif has_whitening(untrained):
        number = min(looked_at(data.image_size), len(data.train))
        images, _ = next(iter(data.train.batches(number, shuffle_seed=0)))
        whiten(untrained, images)
    return data, pair


def students(config: TrainingConfig, data: Data) -> list[Student]:
    """The students; ConfigError if the network does not fit the data."""
    size = (data.in_channels, data.image_size, data.n_classes)
    try:
        pair = networks(config.network, size, config.seed, config.ann_twin, config.training.checkpoint_steps)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(config.name, [f"network, for images of {data.name}: {error}"]) from error
    return [Student(name, network) for name, network in pair.items()]


def _misfits(config: TrainingConfig, data: Data) -> Iterator[str]:
    batch, devices = config.training.batch_size, config.fabric.devices
    if batch * devices > len(data.train):
        each = f" on each of {devices} devices" if devices > 1 else ""
        yield (
            f"training.batch_size: got {batch}{each}, allowed are at most the {len(data.train)} training samples "
            "for all devices together"
        )
    if data.is_events and config.training.T is not None:
        yield "training.T: not allowed for events, whose steps are data.bins; set null"
    yield from wrong_steps(config.network, config.data)


def _too_long(config: TrainingConfig, pair: list[Student]) -> Iterator[str]:
    """Steps for which norms with statistics of each step have none."""
    most = max((T for _, T in config.training.T or ()), default=0)
    modules = (module for student in pair for module in student.network.modules())
    norm = next((module for module in modules if isinstance(module, StepNorm2d) and most > module.T), None)
    if norm is not None:
        yield f"training.T: got {most} steps, allowed with a norm of each step are at most network.T, {norm.T}"


def _too_short(config: TrainingConfig, pair: list[Student]) -> Iterator[str]:
    """Steps of which a readout counts none."""
    least = min((T for _, T in config.training.T or ()), default=None)
    modules = (module for student in pair for module in student.network.modules())
    burn_in = next((module.steps for module in modules if isinstance(module, BurnIn)), 0)
    if least is not None and least <= burn_in:
        yield f"training.T: got {least} steps, allowed with a burn_in of {burn_in} are more"


def _without_rates(config: TrainingConfig, pair: list[Student]) -> Iterator[str]:
    """A network that has no gradients of rates."""
    if config.training.gradient != "rates":
        return
    from snn4.learners.conversion.tandem import Tandem  # of conversions, which few trainings start from

    try:
        Tandem(pair[0].network)
    except ValueError as error:
        yield f"training.{error}"
