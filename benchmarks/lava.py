"""Integer networks beside Lava: random ones and exported ones, as published in ``benchmarks/results/lava.json``.

    python -m snn4.benchmarks.lava --networks 100 --steps 100
    python -m snn4.benchmarks.lava --run runs/cartpole-… --bits 8 4 --episodes 5
    python -m snn4.benchmarks.lava --table

Every spike, u and v of every step is compared. Each measurement is kept in the result file as soon as it is done.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from snn4.agent.export.export import export
from snn4.agent.export.lava import run_lava
from snn4.agent.export.lava_env import find_lava
from snn4.agent.export.verification import COMPARED, compare, verify
from snn4.benchmarks.publishing import RESULTS, at_least, publish
from snn4.benchmarks.records import read_record
from snn4.benchmarks.tables.lava import table as table
from snn4.policies.export.bundle import read_arrays, write_bundle
from snn4.policies.export.integer import IntegerConv, IntegerDense, IntegerLayer, IntegerNeurons
from snn4.policies.export.integer_network import IntegerNetwork, Readout
from snn4.policies.export.lava import SCRIPT, network_files, npz

RESULT = RESULTS / "lava.json"


def main() -> None:
    """Measure what the command line asks for, or print the table of all results."""
    parser = argparse.ArgumentParser(description="Integer networks beside Lava.")
    parser.add_argument("--networks", type=at_least(1), help="random networks")
    parser.add_argument("--steps", type=at_least(1), default=100, help="of each random network")
    parser.add_argument("--run", help="a run folder or zoo:NAME to export and verify")
    parser.add_argument("--bits", type=int, nargs="+", default=[8])
    parser.add_argument("--episodes", type=at_least(1), default=5)
    parser.add_argument("--lava-python", type=Path)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read_record(RESULT)))
        return
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["seeds"] if RESULT.is_file() else []
    python = find_lava(arguments.lava_python)
    if arguments.networks:
        rows = [row for row in rows if row["measured"] != "random"]
        rows.append(_random(arguments.networks, arguments.steps, python))
        publish(RESULT, "lava", "lava", rows, {})
    for bits in arguments.bits if arguments.run else ():
        row = _exported(arguments.run, bits, arguments.episodes, python)
        rows = [old for old in rows if (old.get("name"), old.get("bits")) != (row["name"], row["bits"])] + [row]
        publish(RESULT, "lava", "lava", rows, {})
    print(table(read_record(RESULT)))


def _random(networks: int, steps: int, python: Path) -> dict[str, Any]:
    """All random networks; the seed of a network is its number."""
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    for first in range(0, networks, 10):
        numbers = range(first, min(first + 10, networks))
        rows += compared([random_case(np.random.default_rng(number), steps) for number in numbers], python)
        print(f"{len(rows)} networks", flush=True)
    return {
        "measured": "random", "seed": None, "networks": len(rows), "steps": sum(row["steps"] for row in rows),
        **{name: min(row[name] for row in rows) for name in COMPARED},
        "kinds": dict(sorted(Counter(row["kinds"] for row in rows).items())),
        "spike_rate": float(np.mean([row["spike_rate"] for row in rows])), "seconds": time.perf_counter() - started,
    }  # fmt: skip


def _exported(run: str, bits: int, episodes: int, python: Path) -> dict[str, Any]:
    """An exported network, with the times of both commands after Python has started."""
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        bundle = export(run, "lava", Path(place) / "bundle", {"bits": bits})
        seconds = time.perf_counter() - started
        result = verify(bundle, episodes=episodes, python=python)
    del result["bundle"]
    return {"measured": "exported", "seed": None, **result, "export_seconds": seconds}


class Case(NamedTuple):
    """A network, and what drives it on the chip."""

    network: IntegerNetwork
    driven: dict[str, NDArray[Any]]
    """See `verification.drive`."""


def random_case(rng: Generator, steps: int) -> Case:
    """Two or three random layers, dense or convolutional, over ``steps`` or a few more.

    They have biases or messages as input, spikes or graded ones; any signs and bits of weights, exponents, decays and
    thresholds; and resets before every decision, or one long decision.
    """
    image = rng.random() < 0.5
    shape = tuple(map(int, rng.integers((1, 3, 3), (4, 7, 7)))) if image else (int(rng.integers(2, 33)),)
    by_biases = bool(rng.random() < 0.5)
    graded = int(rng.random() < 0.3) * 8
    layers = [IntegerLayer("0", None, _neurons(rng, shape))] if by_biases else []
    received = shape
    for _ in range(int(rng.integers(1, 3))):
        synapses, received = _synapses(rng, received, 0 if layers else graded)
        layers.append(IntegerLayer(str(len(layers)), synapses, _neurons(rng, received)))
    T = steps if rng.random() < 0.3 else int(rng.integers(1, 12))
    scales = (1.0,) * len(layers)
    network = IntegerNetwork(tuple(layers), Readout(1.0), scales, T, None, shape, bits=8)
    decisions = -(-steps // network.window)
    network = IntegerNetwork(network.windowed(), Readout(1.0), scales, T, None, shape, bits=8)
    if by_biases:
        return Case(network, {"biases": rng.integers(-300, 900, (decisions, *shape)).astype(np.int32)})
    size = (decisions * network.window, *shape)
    messages = rng.integers(-30, 60, size) * (rng.random(size) < 0.4) if graded else rng.random(size) < 0.4
    return Case(network, {"messages": messages.astype(np.int32)})


def _neurons(rng: Generator, shape: tuple[int, ...]) -> IntegerNeurons:
    bias = rng.integers(-100, 150, shape if rng.random() < 0.5 else (shape[0],) + (1,) * (len(shape) - 1))
    exponent = int(rng.integers(0, 8))
    vth = 131071 if rng.random() < 0.1 else int(rng.integers(5, 400))
    dv = (0, 4095, 4096, int(rng.integers(1, 4000)))[int(rng.choice(4, p=[0.2, 0.05, 0.05, 0.7]))]
    du = 4095 if rng.random() < 0.5 else int(rng.integers(0, 4095))
    return IntegerNeurons(shape, vth, dv, du, bias.astype(np.int32), exponent)


def _synapses(
    rng: Generator, shape: tuple[int, ...], message_bits: int
) -> tuple[IntegerDense | IntegerConv, tuple[int, ...]]:
    """Synapses from neurons of ``shape``, and the shape behind them."""
    if len(shape) == 3 and rng.random() < 0.7:
        return _convolution(rng, shape, message_bits)
    low, high = ((-256, 256), (0, 256), (-255, 1), (-400, 400))[int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1]))]
    weight = rng.integers(low, high, (int(rng.integers(1, 25)), int(np.prod(shape))))
    exponent, bits = (int(rng.integers(-3, 4)), int(rng.choice([8, 6, 4]))) if rng.random() < 0.5 else (0, 8)
    sign: Any = "inferred" if rng.random() < 0.7 else str(rng.choice(["mixed", "excitatory", "inhibitory"]))
    return IntegerDense(weight.astype(np.int32), exponent, bits, sign, message_bits), (len(weight),)


def _convolution(rng: Generator, shape: tuple[int, ...], message_bits: int) -> tuple[IntegerConv, tuple[int, ...]]:
    channels, *size = shape
    groups = channels if rng.random() < 0.2 else 1
    kernel, stride, dilation = rng.integers(1, 4, 2), rng.integers(1, 3, 2), rng.integers(1, 3, 2)
    padding = (dilation * (kernel - 1) + 1) // 2  # the kernel fits in
    behind = (np.array(size) + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    weight = rng.integers(-256, 256, (groups * int(rng.integers(1, 3)), channels // groups, *kernel))
    geometry = (_pair(stride), _pair(padding), _pair(dilation))
    conv = IntegerConv(weight.astype(np.int32), *geometry, groups, message_bits)
    return conv, (len(weight), *map(int, behind))


def _pair(values: NDArray[Any]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def compared(cases: list[Case], python: Path) -> list[dict[str, Any]]:
    """One row per case: steps, and the fractions of spikes, u and v of Lava that are equal to the integer model's."""
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / str(number) for number in range(len(cases))]
        for folder, case in zip(folders, cases, strict=True):
            files, about = network_files(case.network)
            write_bundle(folder, {**files, "inputs.npz": npz(case.driven)}, about)
        run_lava(python, folders[0] / SCRIPT, ["check", *folders])
        records = [read_arrays(folder / "records.npz") for folder in folders]
    rows = []
    for case, recorded in zip(cases, records, strict=True):
        layers = compare(case.network, case.driven, recorded)
        steps = len(recorded["0.spikes"])
        equal = {name: min(layer[name] for layer in layers) for name in COMPARED}
        rate = sum(layer["spike_rate"] for layer in layers) / len(layers)
        rows.append({"kinds": _kinds(case.network), "steps": steps, **equal, "spike_rate": rate})
    return rows


def _kinds(network: IntegerNetwork) -> str:
    names = {IntegerDense: "dense", IntegerConv: "conv", type(None): "biases"}
    return "-".join(names[type(layer.synapses)] for layer in network.layers)


if __name__ == "__main__":
    main()
