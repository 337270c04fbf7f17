"""The C file, compiled, computes every spike, membrane, score and action of the integer network."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from descriptions import HARD, classifier, policy
from numpy.typing import NDArray

from snn4.policies.export.c import c_name, c_sizes, c_source
from snn4.policies.export.description import Actions, NotExportable
from snn4.policies.export.integer_network import IntegerNetwork
from snn4.policies.export.loihi import integer_network
from snn4.policies.export.normalization import Normalization

COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="cc is not there: install a C compiler")
DRIVER = """
#include "net.c"
#include <stdio.h>
int main(void) {
    float x[NET_INPUTS], out[NET_OUTPUTS];
    while (fread(x, sizeof x, 1, stdin) == 1) {
        int32_t number = 0;
        net_reset();
        net_observe(x);
        for (int t = 0; t < NET_STEPS; t++) {
            net_step();
            TRACE
        }
        DECIDE;
        fwrite(out, sizeof out, 1, stdout);
        fwrite(&number, sizeof number, 1, stdout);
    }
    return 0;
}
"""


def networks() -> dict[str, Any]:
    vgg = {"channels": [4, 6]}
    return {
        "CartPole": lambda: (policy(HARD), 8),
        "CartPole in 4 bits": lambda: (policy(HARD, readout="membrane", net_arch=[20, 16, 12]), 4),
        "Pendulum": lambda: (policy(HARD, environment="Pendulum-v1"), 8),
        "Pendulum squashed": lambda: (policy(HARD, environment="Pendulum-v1", squashed=True), 8),
        "images": lambda: (classifier("vgg-small", vgg, HARD), 8),
        "images, dense": lambda: (classifier("dense-small", {"hidden": [12, 9]}, HARD), 8),
    }


def inputs_for(network: Any, n: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, (n, *network.input_shape)).astype(np.float32)


def compiled(text: str, network: IntegerNetwork, folder: Path, *flags: str) -> Path:
    """A program that decides on the inputs in stdin, and writes what its network does."""
    traced = [
        f"fwrite(net_{kind}{i}, sizeof net_{kind}{i}, 1, stdout);" for i in range(len(network.layers)) for kind in "sv"
    ]
    continuous = network.actions is not None and network.actions.kind == "continuous"
    decide = "net_decide(x, out)" if continuous else "number = net_decide(x, out)"
    (folder / "net.c").write_text(text)
    (folder / "main.c").write_text(DRIVER.replace("TRACE", " ".join(traced)).replace("DECIDE", decide))
    command = [str(COMPILER), "-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", *flags, "main.c", "-o", "net", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "net"


def record(network: IntegerNetwork) -> np.dtype[Any]:
    """What the program writes for an input."""
    step = []
    for number, layer in enumerate(network.layers):
        step += [(f"s{number}", np.uint8, layer.neurons.shape), (f"v{number}", np.int32, layer.neurons.shape)]
    outputs = network.layers[-1].neurons.shape
    return np.dtype([("steps", step, network.T), ("out", np.float32, outputs), ("number", np.int32)])


def run(program: Path, network: IntegerNetwork, inputs: NDArray[np.float32]) -> NDArray[Any]:
    done = subprocess.run([program], input=inputs.tobytes(), capture_output=True, check=True, timeout=60)
    return np.frombuffer(done.stdout, record(network))


@needs_compiler
@pytest.mark.parametrize("name", networks())
def test_c_computes_the_integer_network(name: str, tmp_path: Path) -> None:
    description, bits = networks()[name]()
    network = integer_network(description, inputs_for(description, 50), bits)
    program = compiled(c_source(network, "net"), network, tmp_path)
    inputs = inputs_for(description, 100, seed=1)
    found, expected = run(program, network, inputs), network.run(inputs)
    for number, trace in enumerate(expected.traces):
        np.testing.assert_array_equal(found["steps"][f"s{number}"], trace.spikes.swapaxes(0, 1))
        np.testing.assert_array_equal(found["steps"][f"v{number}"], trace.v.swapaxes(0, 1))
    assert 0.01 < np.mean(expected.traces[-2].spikes) < 0.9
    actions = network.actions or Actions("discrete")
    if actions.kind == "continuous":
        np.testing.assert_allclose(found["out"], actions.chosen(expected.scores), rtol=1e-6)
    else:
        np.testing.assert_array_equal(found["out"], expected.scores.astype(np.float32))
        np.testing.assert_array_equal(found["number"], actions.chosen(expected.scores))
        assert len(np.unique(found["out"])) > 10


@needs_compiler
def test_c_normalises_and_restarts_its_readout(tmp_path: Path) -> None:
    description = policy(HARD)
    network = integer_network(description, inputs_for(description, 50))
    network = IntegerNetwork(**{**vars(network), "readout": network.readout._replace(start=3)})
    mean, std = np.array([1.0, -2, 3, 0]), np.array([1.0, 2, 0.3, 4])
    inputs = inputs_for(description, 100, seed=2)
    program = compiled(c_source(network, "net", Normalization(mean, std, clip=1.5)), network, tmp_path)
    found = run(program, network, (inputs * std + mean).astype(np.float32))
    seen = ((inputs * std + mean).astype(np.float32).astype(np.float64) - mean) / std
    expected = network.run(seen.clip(-1.5, 1.5).astype(np.float32)).scores
    np.testing.assert_array_equal(found["out"], expected.astype(np.float32))


@needs_compiler
def test_the_first_layer_in_float_decides_nearly_the_same(tmp_path: Path) -> None:
    description = policy(HARD)
    network = integer_network(description, inputs_for(description, 50))
    program = compiled(c_source(network, "net"), network, tmp_path, "-DNET_REAL=float")
    inputs = inputs_for(description, 200, seed=1)
    assert (run(program, network, inputs)["number"] == network.run(inputs).scores.argmax(1)).mean() > 0.98


@needs_compiler
def test_the_sizes_are_those_that_the_compiler_finds(tmp_path: Path) -> None:
    network = integer_network(description := policy(HARD), inputs_for(description, 50))
    (tmp_path / "net.c").write_text(c_source(network, "net"))
    subprocess.run([str(COMPILER), "-std=c99", "-O2", "-c", "net.c"], cwd=tmp_path, check=True)
    sizes = c_sizes(network)
    text = (tmp_path / "net.c").read_text()
    assert f"{sizes.flash:,} bytes of flash and {sizes.ram:,} bytes of RAM" in text
    assert sizes.flash == 4 * 24 * 4 + 24 * 4 + 24 * 16 + 16 * 2 + 16 * 2 + 2 * 2
    assert sizes.flash < (tmp_path / "net.o").stat().st_size < sizes.flash + 10_000


def test_names_are_identifiers() -> None:
    assert c_name("CartPole-v1 (hard)") == "cartpole_v1__hard_"
    assert c_name("2 layers") == "snn_2_layers"


def test_what_c_cannot_do_is_named() -> None:
    description = policy(HARD, coding="population")
    network = integer_network(description, inputs_for(description, 20))
    with pytest.raises(NotExportable, match="coding: got population, allowed is direct"):
        c_source(network, "net")
