"""The five indicators of a classifier: accuracy, spikes, latency, energy and size."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from snn4.agent.evaluation.accuracy import Batch, Recognition, Recognizer
from snn4.agent.evaluation.joules import joules_per_decision
from snn4.policies.engine.event_conv import event_driven
from snn4.policies.metering.cost import Cost
from snn4.policies.metering.meter import Meter
from snn4.policies.modes import device, evaluating

WARM_UP = 5
"""Decisions before the timed ones; the first ones compile code and allocate memory."""


@dataclass(frozen=True)
class Timing:
    """Time from an input in memory to its scores on the host, with a batch of 1."""

    engine: Literal["torch", "compiled"]
    """compiled: by `event_conv.event_driven`, with folded norms, and events for synapses behind neurons."""
    threads: int
    median_milliseconds: float
    p95_milliseconds: float
    """95 of 100 decisions are faster."""


@dataclass(frozen=True)
class Indicators:
    """Accuracy and costs of a classifier; None (shown as "-") where nothing was measured."""

    name: str
    precision: Literal["fp32", "int8"]
    """int8 is a simulation (`quantization`), whose tensors have the bytes of fp32: it measures no memory but the
    parameters' bytes and the traffic by kind of value. Where it was not possible, operations are those of fp32."""
    steps: int
    """Latency in inner steps, 1 for an ANN."""
    recognition: Recognition | None
    """None for an untrained network."""
    cost: Cost
    """Mean cost per decision."""
    bytes: int
    """Bytes of all parameters in this precision."""
    timings: tuple[Timing, ...] = ()
    joules_measured: float | str | None = None
    """Of a decision on this machine (`joules`); None for a simulated precision."""

    @property
    def top1(self) -> float | None:
        return self.recognition.top1[-1] if self.recognition else None

    @property
    def top5(self) -> float | None:
        return self.recognition.top5[-1] if self.recognition and self.recognition.top5 else None

    @property
    def energy_joules(self) -> dict[str, float | None]:
        """Joules by the energy models of this precision; None where their hardware cannot run the network."""
        other = "int8" if self.precision == "fp32" else "fp32"
        return {model: joules for model, joules in self.cost.energy_joules.items() if other not in model}

    def to_json(self) -> dict[str, Any]:
        """Plain data, units in the names."""
        cost = {name: value for name, value in asdict(self.cost).items() if name not in ("energy_joules", "bytes")}
        if self.precision == "int8":
            cost |= {"memory_bytes": None, "footprint_bytes": None}
            cost["layers"] = [{**layer, "memory_bytes": None, "bytes": None} for layer in cost["layers"]]
        return {
            "name": self.name, "precision": self.precision, "top1_accuracy": self.top1, "top5_accuracy": self.top5,
            "cross_entropy_nats": self.recognition.cross_entropy[-1] if self.recognition else None,
            "latency_steps": self.steps, "latency": [asdict(timing) for timing in self.timings],
            "energy_joules": self.energy_joules, "energy_joules_measured": self.joules_measured,
            "bytes": self.bytes, **cost,
        }  # fmt: skip


def meter(recognizer: Recognizer, inputs: Iterable[Tensor]) -> Cost:
    """Mean cost per decision over all ``inputs``; layers have their names in the network."""
    with evaluating(recognizer), Meter(recognizer) as counting:
        for x in inputs:
            recognizer(x.to(device(recognizer)))
    cost = counting.cost()
    return replace(cost, layers=[replace(row, name=row.name.removeprefix("network.")) for row in cost.layers])


def time_decisions(recognizer: Recognizer, samples: Sequence[Tensor], decisions: int) -> tuple[Timing, ...]:
    """Time ``decisions`` of each engine, with one thread and with torch's present number of threads.

    Engines take turns on ``samples`` (batches of 1, used repeatedly), so that both see the same inputs and the same
    load of the machine.
    """
    installed = torch.get_num_threads()
    timings: list[Timing] = []
    with evaluating(recognizer):
        engines = _engines(recognizer)
        for threads in sorted({1, installed}):
            with _threads(threads):
                timings += _take_turns(engines, samples, decisions)
    return tuple(timings)


def measure(recognizer: Recognizer, samples: Sequence[Tensor]) -> float | str:
    """Joules per decision on this machine, on ``samples`` (batches of 1), or why there are none."""
    turn = itertools.cycle(samples)
    with evaluating(recognizer):
        return joules_per_decision(lambda: lambda: recognizer(next(turn).to(device(recognizer))))


def spread(batches: Iterable[Batch], total: int, number: int) -> Iterator[Tensor]:
    """``number`` of the ``total`` inputs in ``batches``, evenly spread, since data are often sorted by class."""
    chosen = torch.linspace(0, total - 1, min(number, total)).round().long()
    first = 0
    for x, labels in batches:
        inside = chosen[(chosen >= first) & (chosen < first + len(labels))] - first
        first += len(labels)
        if len(inside):
            yield x.index_select(x.dim() - 4, inside.to(x.device))


def _engines(recognizer: Recognizer) -> dict[Literal["torch", "compiled"], nn.Module]:
    try:
        return {"torch": recognizer, "compiled": event_driven(recognizer)}
    except ValueError:  # not on a CPU in float32
        return {"torch": recognizer}


def _take_turns(
    engines: dict[Literal["torch", "compiled"], nn.Module], samples: Sequence[Tensor], decisions: int
) -> Iterator[Timing]:
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(WARM_UP + decisions):
        x = samples[number % len(samples)].to(device(engines["torch"]))
        for name, engine in engines.items():
            started = time.perf_counter()
            engine(x)[0].cpu()
            seconds[name].append(time.perf_counter() - started)
    for name in engines:
        median, p95 = np.percentile(np.asarray(seconds[name][WARM_UP:]) * 1e3, [50, 95]).tolist()
        yield Timing(name, torch.get_num_threads(), median, p95)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
