"""The examination of a classifier: all measurements on test data, beside its ANN twin, and of both in int8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn4.agent.config.fields import check_least
from snn4.agent.evaluation.accuracy import Batch, Exit, Recognition, Recognizer, recognize, select_exit
from snn4.agent.evaluation.activity import Activity, watch
from snn4.agent.evaluation.indicators import Indicators, measure, meter, spread, time_decisions
from snn4.policies.compression.quantization import int8_bytes, quantized
from snn4.policies.modes import device
from snn4.policies.networks.ann import twin as make_twin
from snn4.policies.networks.classifier import Classifier, Network, SpikingClassifier


@dataclass(frozen=True)
class ExaminationConfig:
    """How a classifier is examined."""

    steps: int | None = None
    """Inner steps for an image, or the first bins of events; None takes the network's, or all bins."""
    flip: bool = False
    """Average with the mirrored input (left to right): more accurate, at twice the cost, which is counted."""
    metered: int = 512
    """Test samples whose operations are counted, evenly spread over all; a smaller set is counted completely."""
    decisions: int = 100
    """Timed decisions for each engine and number of threads."""
    calibration: int = 256
    """Validation samples that set the ranges of int8."""
    tolerance: float = 0.001
    """Validation accuracy that early exit may lose."""

    def __post_init__(self) -> None:
        check_least(self, 1, "metered", "decisions", "calibration")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps: got {self.steps}, allowed is None or a whole number >= 1")
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"tolerance: got {self.tolerance}, allowed is a fraction from 0 to 1")


@dataclass(frozen=True, eq=False)
class Examination:
    """All measurements of a classifier."""

    class_names: tuple[str, ...]
    config: ExaminationConfig
    rows: tuple[Indicators, ...]
    """SNN, SNN int8, ANN, ANN int8."""
    recognition: Recognition
    """The SNN's recognition of the test data."""
    metered: int
    """Number of test samples behind each cost."""
    chosen: Exit | None
    """Early exit on validation data, which chose its threshold; None without validation data."""
    exit: Exit | None
    """The same threshold on test data."""
    activity: Activity
    notes: tuple[str, ...] = ()
    """Notes on the data: files left out, classes whose names differ from those in the training."""

    def to_json(self) -> dict[str, Any]:
        """Plain data in the units in the names; None where nothing was measured."""
        r = self.recognition
        return {
            "classes": list(self.class_names), "notes": list(self.notes),
            "test_samples": len(r.labels), "metered_samples": self.metered, "steps": r.steps, "flip": r.flip,
            "indicators": [row.to_json() for row in self.rows],
            "top1_accuracy_by_step": r.top1, "top5_accuracy_by_step": r.top5,
            "cross_entropy_nats_by_step": r.cross_entropy,
            "early_exit": {
                "validation": asdict(self.chosen) if self.chosen else None,
                "test": asdict(self.exit) if self.exit else None,
                "test_curve": [asdict(point) for point in r.exit_curve()],
            },
            "class_accuracy": r.class_accuracy, "confusion": r.confusion.tolist(), "activity": self.activity.to_json(),
        }  # fmt: skip


def examine(
    network: SpikingClassifier, twin: Classifier | None, test: Iterable[Batch], validation: Iterable[Batch] | None,
    class_names: Sequence[str], config: ExaminationConfig | None = None, notes: Sequence[str] = (),
) -> Examination:  # fmt: skip
    """Test ``network`` and measure its costs, without changing it.

    Args:
        network: a trained spiking classifier.
        twin: its trained ANN twin; None measures the cost of an untrained one, without accuracy.
        test: batches, as a list or a DataLoader, which is iterated several times.
        validation: batches that choose the threshold of early exit and the ranges of int8; None leaves both out.
        class_names: name of each label.
        config: settings; None takes the defaults.
        notes: on the data, for the result.

    Raises:
        ValueError: data that do not fit the network, or that can be iterated only once; with their name.
    """
    config = config or ExaminationConfig()
    names = tuple(class_names)
    for name, batches in (("test", test), ("validation", validation)):
        if isinstance(batches, Iterator):
            raise ValueError(f"{name}: got an iterator, which can be used once; allowed is a list or a DataLoader")
    recognition = recognize(network, test, len(names), config.steps, config.flip)
    validated = None
    ranges = []
    if validation is not None:
        validated = recognize(network, validation, len(names), config.steps, config.flip)
        ranges = list(spread(validation, len(validated.labels), config.calibration))
    chosen = select_exit(validated, config.tolerance) if validated else None
    of_twin = recognize(twin, test, len(names), flip=config.flip) if twin else None
    data = _Data(test, len(recognition.labels), len(names), ranges)
    return Examination(
        class_names=names,
        config=config,
        rows=(
            *_rows("SNN", network, recognition, data, config),
            *_rows("ANN", twin or _untrained_twin(network), of_twin, data, config),
        ),
        recognition=recognition,
        metered=min(config.metered, data.total),
        chosen=chosen,
        exit=recognition.exit(chosen.threshold) if chosen else None,
        activity=_watch_first(Recognizer(network, config.steps), test),
        notes=tuple(notes),
    )


class _Data(NamedTuple):
    test: Iterable[Batch]
    total: int
    n_classes: int
    ranges: list[Tensor]
    """Inputs that set the ranges of int8."""


def _rows(
    name: str, network: Network, recognition: Recognition | None, data: _Data, config: ExaminationConfig
) -> Iterator[Indicators]:
    """A network in fp32, and simulated in int8; without ``recognition`` it is untrained."""
    whole = Recognizer(network, config.steps, config.flip)
    samples = [x for part in spread(data.test, data.total, 20) for x in part.split(1, dim=-4)]
    steps = recognition.steps if recognition else 1  # only ANNs are examined untrained
    cost = meter(whole, spread(data.test, data.total, config.metered))
    timings = time_decisions(whole, samples, config.decisions)
    measured = measure(whole, samples)
    yield Indicators(name, "fp32", steps, recognition, cost, cost.bytes, timings, measured)
    in_int8 = None
    if data.ranges:
        small = quantized(whole, data.ranges)
        cost = meter(small, spread(data.test, data.total, config.metered))
        if recognition:
            in_int8 = recognize(small.network, data.test, data.n_classes, config.steps, config.flip)
    yield Indicators(name, "int8", steps, in_int8, cost, int8_bytes(network))


def _watch_first(recognizer: Recognizer, batches: Iterable[Batch]) -> Activity:
    x, labels = next(iter(batches))
    return watch(recognizer, x[..., :1, :, :, :], int(labels[0]))


def _untrained_twin(network: SpikingClassifier) -> Classifier:
    """The untrained twin, always with the same weights; the caller's random numbers are not used."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_twin(network.config).to(device(network))
