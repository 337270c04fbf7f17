"""How fast exported C decides, beside the event-driven engine, as published in ``benchmarks/results/c.json``.

    python -m snn4.benchmarks.c runs/cartpole-…
    python -m snn4.benchmarks.c --table

Each decides on one observation at a time, on one core. They take turns, and ratios are computed within each round.
Seconds are those of the process.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snn4.agent.export.export import export
from snn4.agent.export.integers import calibration, integers_of
from snn4.agent.export.normalizing import input_normalization
from snn4.agent.export.source import PolicySource, open_source
from snn4.benchmarks.publishing import RESULTS, at_least, publish
from snn4.benchmarks.records import read_record
from snn4.benchmarks.tables.c import table as table
from snn4.benchmarks.timing import ratio, take_turns
from snn4.policies.export.c import c_name, c_sizes

RESULT = RESULTS / "c.json"
LOOP = """
#include "net.c"
void loop(const float *observations, int n, int passes, float *out) {
    while (passes--)
        for (int i = 0; i < n; i++) NAME_decide(observations + i * WIDTH, out);
}
"""
PASSES = 20
"""Over all observations, in the loop of C, which would be too short to time otherwise."""
COMPILE = ("cc", "-std=c99", "-O2", "-shared", "-fPIC", "loop.c", "-o", "loop.so", "-lm")


def main() -> None:
    """Measure a run, or print the table of all results."""
    parser = argparse.ArgumentParser(description="Exported C beside the event-driven engine.")
    parser.add_argument("run", nargs="?", help="the run folder of a life")
    parser.add_argument("--rounds", type=at_least(3), default=30)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read_record(RESULT)))
        return
    if arguments.run is None:
        parser.error("run: got none, allowed is the run folder of a life")
    torch.set_num_threads(1)
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["seeds"] if RESULT.is_file() else []
    row = measure(arguments.run, arguments.rounds)
    print(json.dumps(row, indent=1))
    publish(RESULT, "c", "c", [old for old in rows if old["name"] != row["name"]] + [row], {})


def measure(run: str, rounds: int) -> dict[str, Any]:
    """Seconds per decision of each contender on typical observations of ``run``."""
    source = open_source(run)
    if not isinstance(source, PolicySource):
        raise SystemExit(f"{run}: got a classifier, allowed is the run folder of a life")
    seen, normalization = calibration(source), input_normalization(source)
    raw = seen if normalization is None else (seen * normalization.std + normalization.mean).astype(np.float32)
    network = integers_of(source)
    with tempfile.TemporaryDirectory() as folder:
        export(run, "c", Path(folder) / "net.c", {})
        library = _compiled(Path(folder), c_name(source.name), raw.shape[1])
    times = take_turns(_contenders(source, library, seen, raw), rounds, clock=time.process_time)
    decisions = {name: len(seen) * (PASSES if name == "c" else 1) for name in times}
    times = {name: [seconds / decisions[name] for seconds in each] for name, each in times.items()}
    return {
        "seed": None,
        "name": source.name,
        "environment": source.task.environment,
        "neurons": [layer.neurons.shape[0] for layer in network.layers],
        "T": network.T,
        "bytes": c_sizes(network, normalization)._asdict(),
        "seconds_per_decision": {name: float(np.median(each)) for name, each in times.items()},
        "speedup_over_engine": ratio(times, "c", "engine"),
        "speedup_from_python": ratio(times, "c_from_python", "engine"),
        "compiled": " ".join(COMPILE),
    }


def _compiled(folder: Path, name: str, width: int) -> ctypes.CDLL:
    (folder / "loop.c").write_text(LOOP.replace("NAME", name).replace("WIDTH", str(width)), encoding="utf-8")
    subprocess.run(COMPILE, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "loop.so"))
    setattr(library, "decide", library[f"{name}_decide"])  # noqa: B010 - mypy knows no names of libraries
    return library


def _contenders(source: PolicySource, library: ctypes.CDLL, seen: Any, raw: Any) -> dict[str, Callable[[], None]]:
    """Functions that decide on all observations, one after the other."""
    _, body, _, _ = source.policy.acting_layers()  # type: ignore[operator]
    out = (ctypes.c_float * 64)()
    rows = [row.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) for row in raw]
    observations = [row.reshape(source.policy.observation_space.shape) for row in seen]

    def each(decide: Callable[[Any], Any], inputs: Any) -> Callable[[], None]:
        def run() -> None:
            for x in inputs:
                decide(x)

        return run

    return {
        "c": lambda: library.loop(rows[0], len(raw), PASSES, out),
        "c_from_python": each(lambda x: library.decide(x, out), rows),
        "engine": each(body.decide, [row[None] for row in seen]),
        "predict": each(lambda x: source.policy.predict(x, deterministic=True), observations),
    }


if __name__ == "__main__":
    main()
