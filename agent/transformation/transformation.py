"""The story of a transformation: an ANN is finetuned if the method says so, converted, and diagnosed layer by layer."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snn4.agent.models.sources import About
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.run.events import Evaluated, Event, Learned, Measure, Task
from snn4.agent.run.work import Model, Pause, State, Stop
from snn4.agent.transformation.classifiers import REPORT_EVERY, about_network, finetuner, finetuning, named_graph
from snn4.agent.transformation.config import TransformationConfig
from snn4.envs.data.datasets import Data
from snn4.learners.conversion.conversion import Conversion, converting, graph_of
from snn4.learners.conversion.diagnosis import Diagnosis, diagnosed
from snn4.learners.conversion.networks import artificial
from snn4.learners.conversion.progress import Progress
from snn4.learners.conversion.qcfs import learned_sizes, quantize
from snn4.learners.conversion.scaling import scaled
from snn4.learners.conversion.sizes import measured
from snn4.learners.conversion.tracing import AnnGraph, trace
from snn4.learners.distillation import Distillation
from snn4.learners.generators import result_of
from snn4.learners.lessons import Lessons
from snn4.learners.supervised import SupervisedLearner
from snn4.learners.teachers import Teacher
from snn4.policies.gene import genome
from snn4.policies.networks.classifier import Classifier, ClassifierConfig
from snn4.policies.networks.graph import GraphConfig


class Converted:
    """The spiking network that the transformation makes."""

    name = NETWORK


class Transformation:
    """An ANN becomes a spiking network.

    Args:
        config: a checked config.
        data: of the model.
        module: the ANN, for images normalised as the data are.
        about: what the ANN has learned.
        calibration: images (N, C, H, W) of the training part, without augmentation.
    """

    unit = "images"
    measure: Measure = "accuracy"
    beings = [Converted()]  # noqa: RUF012, a protocol's field
    conversion: Conversion | None = None
    diagnosis: Diagnosis | None = None
    learner: SupervisedLearner | None = None
    original: float = 0.0
    """Accuracy of the ANN as it came, on the examined images."""

    def live(self, stop: Stop) -> Iterator[Event | Pause | Model]:
        """Finetune, convert, diagnose."""
        if self.learner is not None:
            yield from finetuning(self.learner, self.data.name, stop)
            if self.learner.epoch < self.config.finetune.epochs:
                return
        self.original = self._accuracy_of_original()
        self.conversion = yield from self._reported(self._convert())
        if stop():
            yield Pause()
            return
        yield from self._models(self.conversion)
        self.diagnosis = yield from self._reported(diagnosed(self.conversion, *self.examined))
        score = {"return_mean": self.diagnosis.accuracy_by_step[-1]}
        yield Evaluated(NETWORK, self.data.name, self.age, {self.data.name: score}, best=True)

    def _convert(self) -> Generator[Progress, None, Conversion]:
        config, graph = self.config.convert, self.graph
        sizes = None
        if self.learner is not None:
            learned = self.learner.learned.eval()
            graph = trace(learned.network, self.calibration[:1])
            sizes = learned_sizes(graph, learned.network)
        return (yield from converting(graph, self.calibration, config, sizes))

    def _reported(self, steps: Generator[Progress, None, Any]) -> Generator[Event, None, Any]:
        """Run ``steps`` with an event at intervals; the value is theirs."""
        last = time.perf_counter()
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                return end.value
            now = time.perf_counter()
            if now - last > REPORT_EVERY or progress.done == progress.total:
                yield Learned(
                    NETWORK, progress.stage, 0, progress.done, progress.total, self.age, None, [], {}, now - last
                )
                last = now

    def _accuracy_of_original(self) -> float:
        images, labels = self.examined
        size = GraphConfig(in_channels=images.shape[1], image_size=self.data.image_size)
        with torch.no_grad():
            scores = artificial(self.graph, size)(images)
        return float((scores.argmax(1) == labels).double().mean())

    def _models(self, conversion: Conversion) -> Iterator[Model]:
        """``model.safetensors``, with its nodes, and the ANN in its units as ``ann_twin.safetensors``."""
        about = about_network(self.config, self.data, named_graph(conversion.network))
        yield Model("model", conversion.network.state_dict(), about)
        original = artificial(scaled(self.graph, conversion.sizes), conversion.network.config)  # type: ignore[arg-type]
        yield Model(ANN_TWIN, original.state_dict(), about)

    def __init__(
        self, config: TransformationConfig, data: Data, module: nn.Module, about: About, calibration: Tensor
    ) -> None:
        self.config, self.data, self.about, self.calibration = config, data, about, calibration
        self.graph = graph_of(module, calibration)
        self.notes = list(data.notes)
        batches = data.validation.batches(config.examined, shuffle_seed=config.seed)  # files are sorted by class
        self.examined: tuple[Tensor, Tensor] = next(iter(batches))
        if config.convert.method == "qcfs":
            self.learner = self._learner(module)

    def _learner(self, module: nn.Module) -> SupervisedLearner:
        """The learner of the ANN with quantized activations."""
        config, data = self.config, self.data
        sizes = _sizes(self.graph, self.calibration, config)
        shape = ClassifierConfig(
            image_size=data.image_size, in_channels=data.in_channels, n_classes=data.n_classes, T=config.convert.T
        )
        network = Classifier(shape, quantize(module, self.graph, sizes, config.convert.levels))
        return finetuner(config, data, network, self._lessons(network) if config.distillation else None)

    def _lessons(self, pupil: Classifier) -> Lessons:
        """The ANN as it came, with weights of its own, teaches the quantized one."""
        weight = self.config.distillation
        size = GraphConfig(in_channels=self.data.in_channels, image_size=self.data.image_size)
        teacher = Teacher([artificial(self.graph, size)])
        losses = Distillation(labels=1 - weight, logits=weight)
        return Lessons(losses, teacher, pupil, self.calibration[:2], self.config.seed)

    @property
    def tasks(self) -> list[Task]:
        learner = self.learner
        epochs = 0 if learner is None else learner.config.epochs * learner.n_batches * learner.config.batch_size
        return [{"environment": self.data.name, "steps": epochs or len(self.calibration)}]

    @property
    def genome(self) -> dict[str, float]:
        return genome(self.config.convert.neuron_config)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Of data and model."""
        size = sum(float(weight.double().abs().sum()) for weight, _ in self.graph.weights.values())
        return {**self.data.fingerprint, "model": f"{size:.6e}"}

    @property
    def age(self) -> int:
        """Images learned from."""
        return 0 if self.learner is None else self.learner.images

    @property
    def finished(self) -> bool:
        return self.diagnosis is not None

    def state(self) -> State:
        """The finetuning; the conversion takes little time, and starts again."""
        return {"model": {}, "learner": {"learner": None if self.learner is None else self.learner.state()}}

    def load_state(self, state: State) -> None:
        """Continue from ``state``."""
        if self.learner is not None and state["learner"]["learner"] is not None:
            self.learner.load_state(state["learner"]["learner"])

    def summary(self) -> dict[str, Any]:
        """The diagnosis."""
        assert self.diagnosis is not None
        epochs = 0 if self.learner is None else self.learner.epoch
        return {
            "diagnosis": dataclasses.asdict(self.diagnosis), "reason": self.diagnosis.reason,
            "finetuned_epochs": epochs, "source_accuracy": self.original, "source": self.about.source,
        }  # fmt: skip


def _sizes(graph: AnnGraph, images: Tensor, config: TransformationConfig) -> dict[str, Tensor]:
    """Sizes from which quantized activations start: those with the smallest error for their levels."""
    convert = dataclasses.replace(config.convert, T=config.convert.levels, burn_in=0, neuron="signed_if")
    _, channels, height, width = images.shape
    ann = artificial(graph, GraphConfig(in_channels=channels, image_size=(height, width)))
    return result_of(measured(ann, graph, images[: convert.images], convert))
