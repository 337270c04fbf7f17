"""The beings of a stream of experiences: a spiking network and its ANN twin, built for the stream."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any, Literal

from snn4.agent.config.fields import unusable
from snn4.agent.config.file import ConfigError
from snn4.agent.evaluation.joules import joules_per_decision
from snn4.agent.models.twins import has_whitening, looked_at, networks, whiten, wrong_steps
from snn4.agent.run.events import Evaluated, Score
from snn4.agent.stream.config import ContinualConfig
from snn4.envs.data.datasets import MissingData
from snn4.envs.stream import Stream, make_stream
from snn4.learners.continual.learner import ContinualLearner, batches, n_outputs
from snn4.policies.metering.cost import Cost
from snn4.policies.networks.classifier import Network, SpikingClassifier

METERED = 256
"""Samples whose operations are counted, the same number from each experience."""
COUNTED = ("spikes_per_decision", "effective_acs", "effective_macs", "neuron_macs", "neuron_acs", "parameters")
"""Costs of each test."""
SIZES = ("dense_macs", "bytes", "footprint_bytes", "connection_sparsity", "activation_sparsity")
"""Costs of the last test, beside `COUNTED`."""


class StreamBeing:
    """A being of the stream, the spiking network or its twin, and its test after each experience."""

    def __init__(self, name: str, learner: ContinualLearner) -> None:
        self.name, self.learner = name, learner
        self.rows: list[Evaluated] = []
        """The tests before the first experience and after each one."""
        self.cost: dict[str, Any] = {}
        """Cost per decision at the last test."""
        self.learned_state: dict[str, Any] | None = None
        """State of the learner at the end of the stream, kept while the twin learns."""

    @property
    def learned(self) -> int:
        """Number of experiences that were learned and tested."""
        return max(len(self.rows) - 1, 0)

    def test(self, stream: Stream, part: Literal["validation", "test"], age: int) -> Evaluated:
        """Test its present state on ``part`` of all experiences, also of those to come."""
        started = time.perf_counter()
        learner = self.learner
        experiences: Sequence[Any] = getattr(stream, part)
        accuracies = [learner.scores(experience) for experience in experiences]
        share = max(METERED // len(experiences), 1)
        costs = [learner.cost(experience, share) for experience in experiences]
        self.cost = {**mean_cost(costs), "latency_steps": latency_steps(learner.network)}
        rows = zip(stream.names, accuracies, costs, strict=True)
        name = stream.names[learner.learned - 1] if learner.learned else ""
        return Evaluated(
            self.name, name, age, {task: _score(accuracy, cost) for task, accuracy, cost in rows},
            part=part, number=learner.learned, memory_bytes=learner.memory_bytes, replay_bytes=learner.replay_bytes,
            seconds=time.perf_counter() - started,
        )  # fmt: skip

    def joules(self, experience: Any) -> float | str:
        """Of a decision on this machine, or why they are unknown."""
        return joules_per_decision(lambda: self.learner.decision(experience))


def latency_steps(network: Network) -> int:
    """Inner steps of a decision; an ANN takes one."""
    return network.config.T if isinstance(network, SpikingClassifier) else 1


def _score(accuracy: float, cost: Cost) -> Score:
    counted = {name: getattr(cost, name) for name in COUNTED}
    return {"return_mean": accuracy, **counted, "energy_joules": cost.energy_joules}


def mean_cost(costs: Sequence[Cost]) -> dict[str, Any]:
    """Cost per decision: the mean over all experiences."""
    joules: dict[str, float | None] = {}
    for model in costs[0].energy_joules:
        known = [joule for cost in costs if (joule := cost.energy_joules[model]) is not None]
        joules[model] = fmean(known) if len(known) == len(costs) else None
    means = {name: fmean(getattr(cost, name) for cost in costs) for name in (*COUNTED, *SIZES)}
    return {**means, "energy_joules": joules}


def stream_and_beings(config: ContinualConfig) -> tuple[Stream, list[StreamBeing]]:
    """The stream and its untrained beings; the same seed gives the same weights.

    Raises:
        ConfigError: the data cannot be read, or network, strategy or recipe do not fit the stream.
        MissingData: the data is missing.
    """
    problem = unusable(config.device)
    if problems := [*([problem] if problem else []), *wrong_steps(config.network, config.stream.data)]:
        raise ConfigError(config.name, problems)
    with _reporting(config, "stream"):
        stream = make_stream(config.stream)
    with _reporting(config, f"network, for images of {config.stream.data.name}"):
        size = (stream.in_channels, stream.image_size, n_outputs(stream))
        pair = networks(config.network, size, config.seed, config.ann_twin)
    _whiten(list(pair.values()), stream)
    with _reporting(config, "strategy"):
        return stream, [
            StreamBeing(
                name, ContinualLearner(config.strategy, config.training, network, stream, config.seed, config.device)
            )
            for name, network in pair.items()
        ]


def _whiten(untrained: list[Network], stream: Stream) -> None:
    """Compute a whitening stem, if there is one, from the first experience: no other is known yet."""
    if has_whitening(untrained):
        images, *_ = next(batches(stream.train[0].dataset, looked_at(stream.image_size)))
        whiten(untrained, stream.normalized(images))


@contextmanager
def _reporting(config: ContinualConfig, place: str) -> Iterator[None]:
    """Turn the errors of our own parts and of libraries into a problem of the config at ``place``."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "no QP solver found")  # Avalanche's import, of a solver unused here
            yield
    except MissingData:
        raise
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(config.name, [f"{place}: {error}"]) from error
