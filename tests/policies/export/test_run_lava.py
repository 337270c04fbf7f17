"""The script of a bundle decides on its own as the integer model does, host included."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from side_environment import lava_python

from snn4.policies.export.bundle import write_bundle
from snn4.policies.export.description import INPUT, Add, Conv, Layer, Pool, Rectify
from snn4.policies.export.host import Host
from snn4.policies.export.integer import IntegerConv, IntegerDense, IntegerLayer, IntegerNeurons
from snn4.policies.export.integer_network import IntegerNetwork, Readout
from snn4.policies.export.lava import SCRIPT, network_files


def images_network(rng: np.random.Generator) -> IntegerNetwork:
    """Every layer that a host may have, then convolutional and dense neurons."""
    floats = lambda *shape: rng.normal(0, 1, shape).astype(np.float32)  # noqa: E731
    host = (
        Layer("c", Conv(floats(4, 1, 3, 2), floats(4), (2, 1), (1, 1), (1, 2), 2), (INPUT,), (4, 4, 6)),
        Layer("r", Rectify(), ("c",), (4, 4, 6)),
        Layer("a", Add(), ("c", "r"), (4, 4, 6)),
        Layer("m", Pool("max", (2, 2), (2, 2), (0, 0)), ("a",), (4, 2, 3)),
        Layer("p", Pool("average", (2, 1), (1, 1), (1, 0)), ("m",), (4, 3, 3)),
    )
    conv = IntegerConv(2 * rng.integers(-127, 128, (3, 4, 2, 3)), padding=(1, 1))
    dense = IntegerDense(2 * rng.integers(-127, 128, (5, 36)))
    layers = (
        IntegerLayer("n1", None, IntegerNeurons((4, 3, 3), vth=400, dv=300, bias_exp=6)),
        IntegerLayer("n2", conv, IntegerNeurons((3, 4, 3), vth=300, dv=300, bias_mant=rng.integers(0, 300, (3, 1, 1)))),
        IntegerLayer("out", dense, IntegerNeurons((5,), vth=131071)),
    )
    return IntegerNetwork(layers, Readout(1e-3), (1.0, 2.0, 3.0), 6, Host(host, 300.0, 6), (2, 7, 7), 8)


@pytest.mark.slow
def test_decisions_on_images(tmp_path: Path) -> None:
    python = lava_python()
    rng = np.random.default_rng(0)
    network = images_network(rng)
    files, about = network_files(network)
    write_bundle(tmp_path / "bundle", files, {**about, "normalization": None, "environment": None})
    images = rng.normal(size=(4, 2, 7, 7)).astype(np.float32)
    run = network.run(images)
    np.save(tmp_path / "images.npy", images)
    command = [python, "-I", tmp_path / "bundle" / SCRIPT, "decide", tmp_path / "images.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    decisions = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    np.testing.assert_array_equal([decision["scores"] for decision in decisions], run.scores)
    assert [decision["action"] for decision in decisions] == run.scores.argmax(1).tolist()
    assert len(np.unique(run.scores)) > 10
