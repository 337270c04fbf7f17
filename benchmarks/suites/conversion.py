"""``snn4-agent bench conversion``: the ANN twins of trainings as spiking networks, on the whole test set.

    snn4-agent bench conversion digits fashion_mnist --vary convert.T=4,8,16,32 --vary convert.neuron=signed_if,if

A training is done once per seed, and its twin is converted in each variant. `snn4.benchmarks.conversion` measures files
of weights and other libraries' converters in the same form, and `snn4.benchmarks.agents` agents of stable-baselines3.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from snn4.agent.config.file import checked
from snn4.agent.models.sources import open_model
from snn4.benchmarks import conversion
from snn4.benchmarks.publishing import done_once, kept
from snn4.benchmarks.records import data_name
from snn4.benchmarks.suites.checks import ready
from snn4.benchmarks.suites.classification import SMALL
from snn4.benchmarks.suites.suite import Cell
from snn4.benchmarks.tables.conversion import table as table
from snn4.envs.data.datasets import load_data
from snn4.learners.conversion.conversion import ConversionConfig
from snn4.policies.compression.quantization import quantized

FOLDER = conversion.CONVERSION
GROUPS = {"images": ("digits", "fashion_mnist", "cifar10")}
QUICK = {"digits": SMALL}
VARIED = ("convert.T=4,8,16,32",)
PREFIX = "convert."


def result_of(cell: Cell) -> str:
    """The name of the config; all variants are rows of one result."""
    _settings(cell)
    return str(ready(cell.source, _training(cell), "training").name)


def _training(cell: Cell) -> list[str]:
    return ["ann_twin=true", *(change for change in cell.overrides if not change.startswith(PREFIX))]


def _settings(cell: Cell) -> ConversionConfig:
    changes = [change.removeprefix(PREFIX) for change in cell.overrides if change.startswith(PREFIX)]
    return checked({}, "convert", changes, ConversionConfig)  # type: ignore[no-any-return]


def measure(cell: Cell, runs: Path) -> dict[str, Any]:
    """The accuracy and cost of the converted network, beside its source in fp32 and in int8."""
    folder = done_once(cell.source, _training(cell), runs)
    settings = _settings(cell)
    about: dict[str, Any] = {
        "method": settings.method,
        "neuron": settings.neuron,
        "T": settings.T,
        "images": settings.images,
    }
    file = folder / f"converted-{'-'.join(map(str, about.values()))}.json"
    data = data_name(json.loads((folder / "summary.json").read_text("utf-8"))["config"]["data"])
    return {**about, "data": data, "seed": cell.seed, **kept(file, lambda: _converted(folder, cell, settings))}


def _converted(folder: Path, cell: Cell, settings: ConversionConfig) -> dict[str, Any]:
    data = load_data(ready(cell.source, _training(cell), "training").data)
    network, _ = open_model(str(folder))
    calibration = conversion.drawn(data, settings.images, cell.seed)
    accuracies = {
        "ann_top1_accuracy": conversion.accuracy(network, data),
        "ann_int8_top1_accuracy": conversion.accuracy(quantized(network, calibration.split(100)), data),
    }
    return {**accuracies, **conversion.converted(network, calibration, data, settings)}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Nothing beyond the rows."""
    return {}
