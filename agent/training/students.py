"""Who learns in a training: a classifier, and its ANN twin, made for the data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from snn4.agent.config.file import ConfigError
from snn4.agent.life.config import TrainingConfig
from snn4.envs.data.datasets import Data, DataConfig, MissingData, Samples, load_data
from snn4.policies.networks.ann import twin
from snn4.policies.networks.classifier import Network
from snn4.policies.networks.perception import NetworkConfig, make_network
from snn4.policies.networks.whitening import WhiteningConv2d, fit_whitening
from snn4.policies.normalization import StepNorm2d

NETWORK, ANN_TWIN = "network", "ann_twin"
LOOKED_AT = 5_000_000
"""Pixels of training images that a whitening stem is computed from."""


@dataclass
class Student:
    """A classifier that learns, the spiking one or its twin, and the best weights that it had on validation data."""

    name: str
    network: Network
    best: dict[str, Any] = field(default_factory=dict)
    """``top1`` on validation data, the ``epoch``, and the ``weights``."""
    images: int = 0
    """Images that it has learned from."""
    finished: bool = False


@dataclass(frozen=True)
class InOrder:
    """The batches of ``samples``, in order and as they are, as often as they are asked for."""

    samples: Samples
    batch_size: int = 128

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.samples.batches(self.batch_size)

    def __len__(self) -> int:
        return self.samples.n_batches(self.batch_size)


def prepare(config: TrainingConfig) -> tuple[Data, list[Student]]:
    """Data and untrained students, the same for the same seed.

    Raises:
        ConfigError: for data that cannot be read, and a network or recipe that does not fit it.
        MissingData: for data that is not there.
    """
    data = read(config)
    problems = list(_misfits(config, data))
    if problems:
        raise ConfigError(config.name, problems)
    made = students(config, data)
    if problems := list(_too_long(config, made)):
        raise ConfigError(config.name, problems)
    if any(isinstance(layer, WhiteningConv2d) for student in made for layer in student.network.modules()):
        some = min(LOOKED_AT // math.prod(data.image_size), len(data.train))
        images, _ = next(iter(data.train.batches(max(some, 1), shuffle_seed=0)))
        for student in made:
            fit_whitening(student.network, images.flatten(0, -4))
    return data, made


def read(config: TrainingConfig) -> Data:
    """The data of ``config``; ConfigError where it cannot be read."""
    try:
        return load_data(config.data)
    except MissingData:
        raise
    except (ValueError, ImportError) as error:
        raise ConfigError(config.name, [f"data: {error}"]) from error


def students(config: TrainingConfig, data: Data) -> list[Student]:
    """Who learns; ConfigError where the network does not fit the data."""
    size = (data.in_channels, data.image_size, data.n_classes)
    try:
        made = networks(config.network, size, config.seed, config.ann_twin, config.training.checkpoint_steps)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(config.name, [f"network, for images of {data.name}: {error}"]) from error
    return [Student(name, network) for name, network in made.items()]


def networks(
    config: NetworkConfig,
    size: tuple[int, tuple[int, int], int],
    seed: int,
    ann_twin: bool,
    checkpoint_steps: int | None = None,
) -> dict[str, Network]:
    """The untrained network for data of a ``size`` (channels, height and width, classes), and its ANN twin.

    Raises:
        ValueError, TypeError, ImportError: for a network that does not fit the data, or cannot be made here.
    """
    torch.manual_seed(seed)
    resolved = config.resolve(*size)
    made: dict[str, Network] = {NETWORK: make_network(resolved, config.backend, checkpoint_steps)}
    return {**made, ANN_TWIN: twin(resolved)} if ann_twin else made


def _misfits(config: TrainingConfig, data: Data) -> Iterator[str]:
    batch, devices = config.training.batch_size, config.fabric.devices
    if batch * devices > len(data.train):
        yield (
            f"training.batch_size: got {batch}{f' on each of {devices} devices' if devices > 1 else ''}, allowed "
            f"together are at most the {len(data.train)} training samples"
        )
    if data.is_events and config.training.T is not None:
        yield "training.T: got steps for images, allowed for events is null; data.bins are their steps"
    yield from wrong_steps(config.network, config.data)


def _too_long(config: TrainingConfig, made: list[Student]) -> Iterator[str]:
    """Steps for which norms of each step have no statistics."""
    most = max((T for _, T in config.training.T or ()), default=0)
    norms = [m for student in made for m in student.network.modules() if isinstance(m, StepNorm2d) and most > m.T]
    if norms:
        yield f"training.T: got {most} steps, allowed with a norm of each step are at most network.T, {norms[0].T}"


def wrong_steps(network: NetworkConfig, data: DataConfig) -> Iterator[str]:
    """What is wrong with the T of a network for events, which come in as many steps as they have bins."""
    if data.is_events and data.bins != network.T:
        yield f"network.T: got {network.T}, allowed for events is {data.bins}, as data.bins; set both"
