"""The PyNN bundle: what it holds, what is refused, and that simulators spike as the description does."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from descriptions import HARD, classifier, policy, spikes_of
from numpy.typing import NDArray

from snn4.policies.export import pynn
from snn4.policies.export.bundle import write_bundle
from snn4.policies.export.description import Description, NotExportable
from snn4.policies.export.normalization import Normalization
from snn4.policies.export.pynn import Examples, pynn_files, pynn_network
from snn4.policies.neurons import NeuronConfig

NETWORKS = {
    "lif": lambda: policy(HARD),
    "with resistance": lambda: policy(NeuronConfig(reset="hard", r=2.0, tau_mem=3e-3, v_threshold=0.5)),
    "cuba": lambda: policy(NeuronConfig("cuba", reset="hard", tau_syn=2e-3)),
    "cuba with resistance": lambda: policy(NeuronConfig("cuba", reset="hard", r=9.0, tau_syn=20e-3, v_threshold=0.2)),
    "plif": lambda: policy(NeuronConfig("plif", reset="hard", tau_spread=2.0)),
    "vgg": lambda: classifier("vgg-small", {"channels": [4, 6]}, HARD),
    "resnet": lambda: classifier("resnet-20", {"channels": [4, 6], "blocks": [1, 1]}, HARD),
}


@pytest.fixture(params=NETWORKS)
def description(request: pytest.FixtureRequest) -> Description:
    return NETWORKS[request.param]()


def inputs_for(description: Description, n: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, (n, *description.input_shape)).astype(np.float32)


def bundle(folder: Path, description: Description, inputs: NDArray[np.float32]) -> Path:
    examples = Examples(inputs, spikes_of(description, inputs)[1].numpy().astype(np.float32))
    write_bundle(folder / "bundle", pynn_files("test", description, None, examples), {})
    return folder / "bundle"


def require_equal(description: Description, inputs: NDArray[np.float32], found: dict[str, NDArray[Any]]) -> None:
    """Every spike of every population is that of the description, computed in float64."""
    expected, scores = spikes_of(description, inputs)
    for name, spikes in expected.items():
        assert 0.005 < spikes.mean() < 0.8
        np.testing.assert_array_equal(found[name], spikes.transpose(1, 0, 2), name)
    np.testing.assert_allclose(found["scores"], scores, atol=1e-6)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """run_pynn.py as a module, which simulates sPyNNaker in NumPy."""
    spec = importlib.util.spec_from_file_location("run_pynn", pynn.SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(module.MODULES, "spynnaker", "numpy_spynnaker")
    return module


def test_the_script_spikes_as_the_description(script: Any, description: Description, tmp_path: Path) -> None:
    inputs = inputs_for(description, 3)
    folder = bundle(tmp_path, description, inputs)
    about = json.loads((folder / "network.json").read_text())
    network = script.Network(about, dict(np.load(folder / "network.npz")), "spynnaker")
    decisions = [network.decide(x.astype(np.float64)) for x in inputs]
    found = {name: np.array([spikes[name] for _, spikes in decisions]) for name in network.cells}
    require_equal(description, inputs, {**found, "scores": np.array([scores for scores, _ in decisions])})


def test_the_parameters_are_those_of_pynn() -> None:
    arrays, about = pynn_network("test", policy(NeuronConfig("cuba", tau_mem=10e-3, tau_syn=4e-3, reset="hard")))
    first, second = about["populations"]
    beta = np.exp(-1 / 10)
    assert (first["cell_type"], second["cell_type"]) == ("IF_curr_delta", "IF_curr_exp")
    assert second["parameters"] == pytest.approx(
        {"tau_m": 10.0, "cm": 10 * (1 - beta), "v_rest": 0, "v_reset": 0, "v_thresh": 16, "tau_refrac": 0,
         "tau_syn_E": 4, "tau_syn_I": 4}
    )  # fmt: skip
    assert about["drives"] == [{"target": first["name"], "syn_decay": pytest.approx(np.exp(-1 / 4))}]
    counts = {(p["source"], p["target"]): p["synapses"] for p in about["projections"]}
    assert counts == {(first["name"], second["name"]): 24 * 16, ("clock", second["name"]): 16}
    assert all(x.dtype != object for x in arrays.values())


def test_inputs_are_normalised(script: Any, tmp_path: Path) -> None:
    description, inputs = policy(HARD), inputs_for(policy(HARD), 1)
    mean, std = np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 4, 8])
    arrays, about = pynn_network("test", description, Normalization(mean, std, clip=1.5))
    network = script.Network(about, arrays, "spynnaker")
    scores, _ = network.decide(inputs[0] * std + mean)
    np.testing.assert_allclose(scores, spikes_of(description, inputs.clip(-1.5, 1.5))[1][0], atol=1e-6)


def test_actions_of_the_script(script: Any) -> None:
    description = policy(HARD, environment="Pendulum-v1")
    _, about = pynn_network("test", description)
    assert description.actions is not None
    for scores in (np.array([0.3]), np.array([9.0])):
        expected = description.actions.chosen(scores[None].astype(np.float32))[0]
        np.testing.assert_allclose(script.action(about, scores), expected, rtol=1e-6)
    about["actions"]["squashed"] = True
    np.testing.assert_allclose(script.action(about, np.array([0.3])), [2 * np.tanh(0.3)])
    assert script.action({"actions": None}, np.array([1, 3, 2])) == 1


def refused() -> Iterator[tuple[str, Description, str]]:
    yield "soft", policy(NeuronConfig()), r"got reset soft, allowed is hard; finetune it: snn4-agent run"
    yield "kind", policy(NeuronConfig("alif")), "got kind alif, allowed are lif, plif, cuba; train with"
    yield "v_reset", policy(NeuronConfig(reset="hard", v_reset=-0.5)), r"got v_reset -0\.5, allowed is 0"
    yield "coding", policy(HARD, coding="population"), "got population, allowed is direct"
    yield "max", classifier("vgg-small", {"channels": [4], "pooling": "max"}, HARD), "allowed is average pooling"
    ms = {"channels": [4, 6], "blocks": [1, 1], "shortcut": "ms"}
    yield "ms", classifier("resnet-20", ms, HARD), "allowed is input alone"


@pytest.mark.parametrize(("description", "message"), [pytest.param(*rest, id=name) for name, *rest in refused()])
def test_what_pynn_cannot_do_is_named(description: Description, message: str, tmp_path: Path) -> None:
    with pytest.raises(NotExportable, match=message):
        bundle(tmp_path, description, inputs_for(description, 1))


def run_script(python: str, folder: Path, *arguments: str, home: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"HOME": str(home)} if home else {}
    command = [python, "-W", "ignore", "run_pynn.py", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


NEST, SPYNNAKER = os.environ.get("SNN4_PYNN_PYTHON"), os.environ.get("SNN4_SPYNNAKER_PYTHON")
DEEP = {"two layers, 300 steps": lambda: policy(HARD, T=300), "three layers": lambda: policy(HARD, net_arch=[9, 8, 7])}


@pytest.mark.skipif(NEST is None, reason="SNN4_PYNN_PYTHON is not set: a Python with PyNN and NEST (docs/spinnaker.md)")
@pytest.mark.parametrize("name", [*NETWORKS, *DEEP])
def test_nest_spikes_as_the_description(name: str, tmp_path: Path) -> None:
    description = {**NETWORKS, **DEEP}[name]()
    inputs = inputs_for(description, 3)
    folder = bundle(tmp_path, description, inputs)
    out = run_script(str(NEST), folder, "--simulator", "nest", "--out", "decisions.npz")
    assert "decision 3: " in out
    require_equal(description, inputs, dict(np.load(folder / "decisions.npz")))


@pytest.mark.skipif(
    SPYNNAKER is None, reason="SNN4_SPYNNAKER_PYTHON is not set: a Python with sPyNNaker (docs/spinnaker.md)"
)
@pytest.mark.parametrize("name", ["lif", "vgg"])  # not cuba: on a virtual board, parameters cannot change between runs
def test_spynnaker_maps_the_network_onto_a_virtual_board(name: str, tmp_path: Path) -> None:
    description = NETWORKS[name]()
    folder = bundle(tmp_path, description, inputs_for(description, 2))
    (tmp_path / ".spynnaker.cfg").write_text("[Machine]\nversion = 5\nvirtual_board = True\n")
    out = run_script(str(SPYNNAKER), folder, "--simulator", "spynnaker", home=tmp_path)
    assert "decision 2: nothing was recorded" in out
    assert list(folder.glob("reports/*/finished"))
