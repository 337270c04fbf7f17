"""Converted classifiers on the whole test set, as published in ``benchmarks/results/conversion/``.

    python -m snn4.benchmarks.conversion resnet20.th --architecture resnet-20-a --data cifar10 --steps 8 16 32
    python -m snn4.benchmarks.conversion resnet20.th --architecture resnet-20-a --peer spikingjelly --steps 8 16 32
    python -m snn4.benchmarks.conversion --finetuned runs/resnet20-snn-… --name resnet-20-a --steps 4 8
    python -m snn4.benchmarks.conversion --table

Calibration images are drawn from the training part; test images are used once per cell. Each cell is kept in the
result file as soon as it is measured, and is not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snn4.agent import kinds
from snn4.agent.evaluation.accuracy import Recognizer, recognize
from snn4.agent.evaluation.indicators import meter, spread
from snn4.agent.evaluation.shown import InOrder
from snn4.agent.models.files import read_about
from snn4.agent.models.sources import open_model
from snn4.benchmarks.publishing import RESULTS, publish
from snn4.benchmarks.records import contents
from snn4.benchmarks.tables.conversion import table as table
from snn4.envs.data.datasets import Data, DataConfig, load_data
from snn4.learners.conversion.conversion import ConversionConfig, convert
from snn4.learners.conversion.networks import artificial
from snn4.learners.conversion.tracing import trace
from snn4.policies.allocation import keep_freed_memory
from snn4.policies.networks.graph import GraphConfig

CONVERSION = RESULTS / "conversion"
PEER_SAMPLES = 1000
"""Test images for a peer, whose time loop is much slower."""


def main() -> None:
    """Measure the cells of the command line, or print the table of all results."""
    parser = argparse.ArgumentParser(description="Conversion of ANN classifiers, on the whole test set.")
    parser.add_argument("model", nargs="?", help="a file of weights, a run folder, or zoo:NAME")
    parser.add_argument("--architecture")
    parser.add_argument("--name", help="of the result file; default: the architecture, or the model's name")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--neurons", nargs="+", default=["signed_if", "if"])
    parser.add_argument("--methods", nargs="+", default=["calibrate"])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the drawn calibration images")
    parser.add_argument("--peer", choices=["spikingjelly"], help="measure this library's converter instead")
    parser.add_argument("--finetuned", type=Path, help="a conversion with method qcfs, or a training from a conversion")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(contents(CONVERSION, "conversion")))
        return
    if arguments.finetuned is not None:
        keep_freed_memory()
        _measure_finetuned(arguments)
        return
    if arguments.model is None:
        parser.error("model: got none, allowed is a file of weights, a run folder, or zoo:NAME")
    keep_freed_memory()
    _measure_all(arguments)


def _measure_all(arguments: argparse.Namespace) -> None:
    network, about = open_model(arguments.model, arguments.architecture)
    config = DataConfig(name=arguments.data, mean=about.mean, std=about.std, augmentation="none")
    data = load_data(config)
    name = arguments.name or arguments.architecture or Path(arguments.model).name
    path = CONVERSION / f"{name}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["seeds"] if path.is_file() else []
    if not any(row["method"] == "ann" for row in rows):
        named = {"method": "ann", "data": arguments.data, "seed": None}
        rows.append({**named, "top1_accuracy": accuracy(network, data), "test_samples": len(data.test)})
    for cell in _cells(arguments):
        if any(all(row.get(key) == value for key, value in cell.items()) for row in rows):
            continue
        calibration = drawn(data, cell["images"], cell["seed"])
        measure = _peer if arguments.peer else _own
        rows.append({**cell, **measure(network, calibration, data, cell)})
        print(json.dumps({key: x for key, x in rows[-1].items() if key != "top1_accuracy_by_step"}), flush=True)
        publish(path, "conversion", name, rows, {})


def _measure_finetuned(arguments: argparse.Namespace) -> None:
    """Test a finetuned conversion once, for all steps."""
    folder: Path = arguments.finetuned
    about = read_about(folder / "model.safetensors")
    config = kinds.load(folder / "config.yaml")[1]
    data = load_data(replace(config.data, mean=tuple(about["mean"]), std=tuple(about["std"]), augmentation="none"))
    network: Any = open_model(str(folder / "model.safetensors"))[0]
    path = CONVERSION / f"{arguments.name}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["seeds"]
    most = max(arguments.steps)
    recognition = recognize(network, InOrder(data.test, 25), data.n_classes, most)
    for T in arguments.steps:
        cost = meter(Recognizer(network, T), spread(InOrder(data.test, 25), len(data.test), 100))
        rows.append({
            **_how(config), "data": config.data.name, "T": T, "seed": config.seed,
            "top1_accuracy": recognition.top1[T - 1], "top1_accuracy_by_step": recognition.top1[:T],
            "test_samples": len(recognition.labels), "spikes_per_decision": cost.spikes_per_decision,
            "effective_acs": cost.effective_acs, "effective_macs": cost.effective_macs,
        })  # fmt: skip
        print(json.dumps({key: x for key, x in rows[-1].items() if key != "top1_accuracy_by_step"}), flush=True)
    publish(path, "conversion", arguments.name, rows, {})


def _how(config: Any) -> dict[str, Any]:
    """How a network was finetuned: as an ANN before its conversion, or by a training that went on from a conversion."""
    if config.kind == "training":
        before = _how(kinds.load(Path(config.initial) / "config.yaml")[1])
        learned = "tandem" if config.training.gradient == "rates" else "training"
        method, neuron = f"{before['method']}, {learned}", config.network.neuron.kind
        return {"method": method, "neuron": neuron, "epochs": config.training.epochs}
    convert = config.convert
    method = "qcfs, taught" if convert.method == "qcfs" and config.distillation else convert.method
    about = {"method": method, "neuron": convert.neuron, "images": convert.images, "levels": convert.levels}
    return {**about, "epochs": config.finetune.epochs}


def _cells(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Method, neuron, steps, images and seed of each measurement."""
    for seed in arguments.seeds:
        for steps in arguments.steps:
            common = {"data": arguments.data, "T": steps, "images": arguments.images, "seed": seed}
            if arguments.peer:
                yield {"method": arguments.peer, "neuron": "if", **common}
                continue
            for method in arguments.methods:
                for neuron in arguments.neurons:
                    yield {"method": method, "neuron": neuron, **common}


def drawn(data: Data, images: int, seed: int) -> Tensor:
    """Calibration images (N, C, H, W) of the training part, without augmentation."""
    batches = data.train.batches(images, shuffle_seed=seed, epoch=0, augment=False)
    return next(iter(batches))[0]


def accuracy(network: Any, data: Data) -> float:
    """Of a classifier on the whole test set."""
    with torch.no_grad():
        right = sum(int((network(x).argmax(1) == labels).sum()) for x, labels in InOrder(data.test))
    return right / len(data.test)


def _own(network: Any, calibration: Tensor, data: Data, cell: dict[str, Any]) -> dict[str, Any]:
    settings = ConversionConfig(method=cell["method"], neuron=cell["neuron"], T=cell["T"], images=cell["images"])
    return converted(network, calibration, data, settings)


def converted(network: Any, calibration: Tensor, data: Data, settings: ConversionConfig) -> dict[str, Any]:
    """Accuracy after each step, and cost per decision, of the converted ``network`` on the whole test set."""
    started = time.perf_counter()
    spiking = convert(network, calibration, settings).network
    seconds = time.perf_counter() - started
    recognition = recognize(spiking, InOrder(data.test, 25), data.n_classes)
    cost = meter(Recognizer(spiking), spread(InOrder(data.test, 25), len(data.test), 100))
    return {
        "top1_accuracy": recognition.top1[-1], "top1_accuracy_by_step": recognition.top1, "seconds": seconds,
        "test_samples": len(recognition.labels), "spikes_per_decision": cost.spikes_per_decision,
        "effective_acs": cost.effective_acs, "effective_macs": cost.effective_macs,
    }  # fmt: skip


def _peer(network: Any, calibration: Tensor, data: Data, cell: dict[str, Any]) -> dict[str, Any]:
    """SpikingJelly's converter (rate coding by a percentile of activations) on the first `PEER_SAMPLES` test images.

    It gets the ANN with norms folded and shortcuts as convolutions, because it refuses those that subsample and pad.
    """
    from spikingjelly.activation_based import ann2snn, functional

    batches = [(x, torch.zeros(len(x), dtype=torch.int64)) for x in calibration.split(100)]
    started = time.perf_counter()
    plain: Any = artificial(trace(network, calibration[:1]), GraphConfig()).network
    spiking = ann2snn.Converter(ann2snn.RateCodingRecipe(batches, mode="99.9%")).convert(plain)
    seconds = time.perf_counter() - started
    right = torch.zeros(cell["T"])
    shown = 0
    with torch.no_grad():
        for x, labels in itertools.islice(InOrder(data.test, 50), PEER_SAMPLES // 50):
            functional.reset_net(spiking)
            scores = torch.stack([spiking(x) for _ in range(cell["T"])]).cumsum(0)
            right += (scores.argmax(2) == labels).sum(1)
            shown += len(labels)
    by_step = (right / shown).tolist()
    return {"top1_accuracy": by_step[-1], "top1_accuracy_by_step": by_step, "seconds": seconds,
            "test_samples": shown}  # fmt: skip


if __name__ == "__main__":
    main()
