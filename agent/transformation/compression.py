"""The story of a classifier's compression: it is measured, made smaller, recovers, and is measured again."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snn4.agent.evaluation.shown import InOrder
from snn4.agent.run.beings import NETWORK
from snn4.agent.run.events import Evaluated, Event, Measure, Task
from snn4.agent.run.work import Model, Pause, State, Stop
from snn4.agent.transformation.classifiers import about_network, finetuner, finetuning
from snn4.agent.transformation.comparison import AFTER, BEFORE, ORIGINAL, first_of, grid_of, indicators
from snn4.agent.transformation.config import TransformationConfig
from snn4.envs.data.datasets import Data
from snn4.learners.distillation import Distillation
from snn4.learners.lessons import Lessons
from snn4.learners.supervised import SupervisedLearner
from snn4.learners.teachers import Teacher
from snn4.policies.compression.config import CompressionConfig
from snn4.policies.compression.learning import Rounding, charge_neurons, neuron_steps, quantize, synapses
from snn4.policies.compression.pruning import with_pattern
from snn4.policies.compression.shrinking import shrunk
from snn4.policies.gene import genome
from snn4.policies.networks.classifier import SpikingClassifier
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.perception import make_network


class Compressed:
    """The network that becomes smaller."""

    name = NETWORK


class Compression:
    """A spiking classifier becomes smaller.

    Args:
        config: a checked config with ``compress``.
        data: of the network.
        network: a trained spiking classifier.
        named: the network by its name, as its training has it.

    Raises:
        ValueError: the network cannot be compressed in this way; with the field.
    """

    unit = "images"
    measure: Measure = "accuracy"
    beings = [Compressed()]  # noqa: RUF012, a protocol's field
    learner: SupervisedLearner | None = None
    rounding: Rounding | None = None

    def live(self, stop: Stop) -> Iterator[Event | Pause | Model]:
        """Measure, recover, measure again."""
        if BEFORE not in self.rows:
            self.rows[BEFORE] = self._measured(self.original, compressed=False)
            yield Pause()
        if self.learner is not None:
            yield from finetuning(self.learner, self.data.name, stop)
            if self.learner.epoch < self.learner.config.epochs:
                return
        network = self._final()
        self.rows[AFTER] = self._measured(network, compressed=True)
        yield self._model(ORIGINAL, self.original, self.named, None)
        yield self._model("model", network, self.smaller, self.grid)
        score = {name: x for name, x in self.rows[AFTER].items() if name != "latency_seconds"}
        yield Evaluated(NETWORK, self.data.name, self.age, {self.data.name: score}, best=True)

    def _final(self) -> SpikingClassifier:
        """The compressed network, on its grid."""
        if self.learner is None:
            return self.network
        network: Any = self.learner.learned.eval().cpu()
        if self.grid is not None and self.learner.average is not None:  # a mean of values on a grid is beside it
            quantize(network, self.grid)
        if self.config.finetune.T is not None:  # learned with fewer steps, whose currents differ
            _measure_norms(network, self.images)
        return network  # type: ignore[no-any-return]

    def _measured(self, network: SpikingClassifier, compressed: bool) -> dict[str, Any]:
        """On the validation part."""
        part = InOrder(self.data.validation)
        return indicators(network, part, len(self.data.validation), self.grid if compressed else None)

    def _model(self, name: str, network: nn.Module, named: NetworkConfig, grid: Any) -> Model:
        about = about_network(self.config, self.data, named)
        return Model(
            name, network.state_dict(), {**about, "quantization": None if grid is None else dataclasses.asdict(grid)}
        )

    def __init__(
        self, config: TransformationConfig, data: Data, network: SpikingClassifier, named: NetworkConfig
    ) -> None:
        assert config.compress is not None
        self.config, self.data, self.named, self.original = config, data, named, network
        self.grid = grid_of(config.compress)
        self.notes = list(data.notes)
        self.rows: dict[str, dict[str, Any]] = {}
        """Indicators before and after."""
        batches = data.train.batches(50, shuffle_seed=config.seed, augment=False)
        self.images = first_of(batches, config.examined)
        self.network = compressed(network, named, self.images, config.compress)
        self.smaller = _named(named, self.network)
        if config.compress.recover:
            self.learner = self._learner(config.compress)
        else:
            _measure_norms(self.network, self.images)
            if self.grid is not None:
                quantize(self.network, self.grid)
            self.network.eval()

    def _learner(self, compress: CompressionConfig) -> SupervisedLearner:
        """The learner of the compressed network, whose weights stay on their grid."""
        if compress.spike_cost:
            x = next(iter(self.data.train.batches(1, augment=False)))[0]
            charge_neurons(self.network, compress.spike_cost, neuron_steps(self.network, x))
        lessons = self._lessons() if self.config.distillation else None
        learner = finetuner(self.config, self.data, self.network, lessons)
        if self.grid is not None:
            self.rounding = Rounding(synapses(learner.module), self.grid, [learner.optimizer.optimizer])
        return learner

    def _lessons(self) -> Lessons:
        """The uncompressed network teaches the compressed one."""
        weight = self.config.distillation
        x = next(iter(self.data.train.batches(2, augment=False)))[0]
        losses = Distillation(labels=1 - weight, logits=weight)
        return Lessons(losses, Teacher([copy.deepcopy(self.original)]), self.network, x, self.config.seed)

    @property
    def tasks(self) -> list[Task]:
        learner = self.learner
        images = 0 if learner is None else learner.config.epochs * learner.n_batches * learner.config.batch_size
        return [{"environment": self.data.name, "steps": images or len(self.data.validation)}]

    @property
    def genome(self) -> dict[str, float]:
        return genome(self.smaller)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Of data and model."""
        size = sum(float(x.double().abs().sum()) for x in self.original.state_dict().values())
        return {**self.data.fingerprint, "model": f"{size:.6e}"}

    @property
    def age(self) -> int:
        """Images learned from."""
        return 0 if self.learner is None else self.learner.images

    @property
    def finished(self) -> bool:
        return AFTER in self.rows

    def state(self) -> State:
        """The recovery, and what was measured before it."""
        learner = None if self.learner is None else self.learner.state()
        rounding = None if self.rounding is None else self.rounding.state()
        return {"model": {}, "learner": {"learner": learner, "rounding": rounding, "rows": self.rows}}

    def load_state(self, state: State) -> None:
        """Continue from ``state``."""
        self.rows = state["learner"]["rows"]
        if self.learner is not None:
            self.learner.load_state(state["learner"]["learner"])
        if self.rounding is not None:
            self.rounding.load_state(state["learner"]["rounding"])

    def summary(self) -> dict[str, Any]:
        """Both rows."""
        assert self.config.compress is not None
        return {
            "comparison": self.rows, "part": "validation", "compressed": dataclasses.asdict(self.config.compress),
            "recovered_epochs": 0 if self.learner is None else self.learner.epoch,
            "network": dataclasses.asdict(self.smaller), "source": self.config.model.source,
        }  # fmt: skip


def compressed(
    network: SpikingClassifier, named: NetworkConfig, images: list[Tensor], compress: CompressionConfig
) -> SpikingClassifier:
    """A copy of ``network`` with fewer channels and synapses; its weights are not quantized yet."""
    small = network
    if compress.shrink:
        small = shrunk(network, images, compress, named.backend)
    sparsity = max(compress.sparsity, network.config.sparsity)
    sparse = make_network(dataclasses.replace(small.config, sparsity=sparsity), named.backend)
    weights = small.state_dict()
    sparse.load_state_dict(weights if compress.kept is None else with_pattern(sparse, weights, compress.kept))
    return sparse


def _named(named: NetworkConfig, network: SpikingClassifier) -> NetworkConfig:
    """``named`` with the options of the smaller ``network``."""
    size = network.config.in_channels, network.config.image_size or (0, 0), network.config.n_classes
    before = named.resolve(*size)
    fields = [field.name for field in dataclasses.fields(before) if field.name not in ("T", "neuron")]
    changed = {
        name: getattr(network.config, name) for name in fields if getattr(network.config, name) != getattr(before, name)
    }
    return dataclasses.replace(named, options={**named.options, **changed})


def _measure_norms(network: nn.Module, images: list[Tensor]) -> None:
    """Replace the running statistics of all norms by those of ``images`` (batches)."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        network.train()
        for x in images:
            network(x)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
