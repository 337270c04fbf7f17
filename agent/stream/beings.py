"""Who lives a stream of experiences: a spiking network, and its ANN twin, made for the stream."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from snn4.agent.config.file import ConfigError
from snn4.agent.life.checks import unusable
from snn4.agent.life.config import ContinualConfig
from snn4.agent.run.events import Recalled
from snn4.agent.training.students import LOOKED_AT, networks, wrong_steps
from snn4.envs.data.datasets import MissingData
from snn4.envs.stream import Stream, make_stream
from snn4.learners.continual.learner import ContinualLearner, batches, n_outputs
from snn4.policies.networks.classifier import Network
from snn4.policies.networks.whitening import WhiteningConv2d, fit_whitening


@dataclass
class StreamBeing:
    """Who lives the stream, the spiking network or its twin, and what it recalled after each experience."""

    name: str
    learner: ContinualLearner
    rows: list[Recalled] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    """What a decision cost when it was tested last."""

    @property
    def learned(self) -> int:
        """Experiences that are over, and tested."""
        return max(len(self.rows) - 1, 0)


def prepare(config: ContinualConfig) -> tuple[Stream, list[StreamBeing]]:
    """The stream and its beings before they have learned anything, the same for the same seed.

    Raises:
        ConfigError: for data that cannot be read, and a network, strategy or recipe that does not fit the stream.
        MissingData: for data that is not there.
    """
    problem = unusable(config.device)
    if problems := [*([problem] if problem else []), *wrong_steps(config.network, config.stream.data)]:
        raise ConfigError(config.name, problems)
    with _telling(config, "stream"), _quietly():
        stream = make_stream(config.stream)
    with _telling(config, f"network, for images of {config.stream.data.name}"):
        size = (stream.in_channels, stream.image_size, n_outputs(stream))
        made = networks(config.network, size, config.seed, config.ann_twin)
    for network in made.values():
        _whiten(network, stream)
    with _telling(config, "strategy"), _quietly():
        learners = {
            name: ContinualLearner(config.strategy, config.training, network, stream, config.seed, config.device)
            for name, network in made.items()
        }
    return stream, [StreamBeing(name, learner) for name, learner in learners.items()]


def _whiten(network: Network, stream: Stream) -> None:
    """Compute a whitening stem, where there is one, from the first experience: no other is known yet."""
    if any(isinstance(layer, WhiteningConv2d) for layer in network.modules()):
        some = max(LOOKED_AT // math.prod(stream.image_size), 1)
        images, *_ = next(batches(stream.train[0].dataset, some))
        fit_whitening(network, stream.normalized(images).flatten(0, -4))


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what Avalanche's libraries say when they are imported about solvers that nothing here uses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no QP solver found")
        yield


@contextmanager
def _telling(config: ContinualConfig, place: str) -> Iterator[None]:
    """What our own parts, and the libraries, refuse is a problem of the config at ``place``."""
    try:
        yield
    except MissingData:
        raise
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(config.name, [f"{place}: {error}"]) from error
