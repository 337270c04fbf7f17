"""A run is exported as a bundle, which does the same under Lava as the integer model and as the card says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import only
from side_environment import lava_python

from snn4.agent import runner
from snn4.agent.export.export import export
from snn4.agent.export.lava_tables import Mismatch, show
from snn4.agent.export.verification import compare, verify
from snn4.agent.life import kind
from snn4.agent.models.files import ModelError
from snn4.policies.export.bundle import BundleError, read_arrays, read_bundle
from snn4.policies.export.chip import drive, on_chip
from snn4.policies.export.lava import SAMPLES, read_network

Tiny = Callable[..., Any]


@pytest.fixture(scope="module")
def bundle(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests leave it unchanged."""
    return bundle_of(tiny, tmp_path_factory.mktemp("exported"))


def bundle_of(tiny: Tiny, place: Path, *overrides: str) -> Path:
    """The bundle of a tiny life with neurons that Loihi has."""
    runs = place / "runs"
    config = tiny("world.0.steps=64", "policy.neuron.reset=hard", *overrides)
    runner.begin(kind, config, runs, quiet=True)  # type: ignore[arg-type]
    return export(str(only(runs)), "lava", place / "bundle", {})


def test_a_bundle_holds_all_that_runs_it(bundle: Path) -> None:
    manifest = read_bundle(bundle)
    assert {"network.npz", "samples.npz", "run_lava.py", "DEPLOY.md"} <= set(manifest["files"])
    assert manifest["environment"] == {"id": "CartPole-v1", "kwargs": {}}
    assert (manifest["target"], manifest["network"]["T"], manifest["window"]) == ("lava", 2, 4)
    network = read_network(bundle, manifest)
    samples = read_arrays(bundle / SAMPLES)
    assert len(samples["inputs"]) == 200
    assert len(network.run(samples["inputs"]).scores) == 200
    with pytest.raises(ModelError, match="is there already"):
        export(manifest["run"], "lava", bundle, {})


def test_what_loihi_cannot_compute_is_named(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="reset soft, allowed is hard"):
        bundle_of(tiny, tmp_path, "policy.neuron.reset=soft")
    assert not (tmp_path / "bundle").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.slow
def test_spikes_of_a_code_drive_a_window(tiny: Tiny, tmp_path: Path) -> None:
    bundle = bundle_of(tiny, tmp_path, "policy.coding.kind=population")
    network = read_network(bundle, read_bundle(bundle))
    samples = read_arrays(bundle / SAMPLES)
    driven = drive(network, samples["signal"][:, :3])
    assert driven["messages"].shape == (3 * network.window, samples["signal"].shape[2])
    v = on_chip(network, driven)[-1].v[network.window - 1 :: network.window, 0]
    np.testing.assert_array_equal(v, network.run_signal(samples["signal"][:, :3]).traces[-1].v[-1])
    result = verify(bundle, steps=8, python=lava_python())
    assert result["equal"]
    assert result["episodes"]["equal"] == result["episodes"]["decisions"] > 5
    assert result["episodes"]["as_trained"]["equal"] > 0.9


def test_a_difference_is_counted_and_ends_with_a_status(bundle: Path) -> None:
    network = read_network(bundle, read_bundle(bundle))
    driven = drive(network, read_arrays(bundle / SAMPLES)["inputs"][None, :2])
    traces = on_chip(network, driven)
    records = {f"{i}.{name}": getattr(t, name)[:, 0].astype(int) for i, t in enumerate(traces) for name in t._fields}
    assert [row["v"] for row in compare(network, driven, records)] == [1, 1, 1]
    records["1.v"][3, 2] += 1
    layers = compare(network, driven, records)
    assert layers[1]["v"] == 1 - 1 / records["1.v"].size
    about = {"name": "tiny", "bits": 8, "steps": 8, "samples": {"samples": 1, "saturated": 0}, "seconds": 0}
    with pytest.raises(Mismatch, match="Lava differs") as caught:
        show({**about, "bundle": "b", "layers": layers, "equal": False})
    assert caught.value.exit_status == 1


def test_whole_episodes_inside_lava(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = lava_python()
    result = verify(bundle, steps=20, episodes=1, python=python)
    assert result["equal"]
    played = result["episodes"]
    assert played["equal"] == played["decisions"] == sum(played["returns"]["lava"])
    assert played["returns"]["lava"] == played["returns"]["integers"]
    assert played["as_trained"]["equal"] > 0.9
    show(result)
    assert f"{played['equal']} of {played['decisions']}" in capsys.readouterr().out
    show(result, as_json=True)
    assert json.loads(capsys.readouterr().out)["equal"] is True


def test_an_altered_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    altered = shutil.copytree(bundle, tmp_path / "altered")
    (altered / "network.npz").write_bytes(b"nothing")
    with pytest.raises(BundleError, match=r"network\.npz: was altered"):
        verify(altered)


def test_the_commands_say_what_is_wrong(cli: Callable[..., Any], tmp_path: Path) -> None:
    result = cli("verify", tmp_path)
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "has no manifest.json; allowed is a folder that snn4-agent export wrote" in result.err
    result = cli("export", "zoo:digits", "--target", "paper", "-o", tmp_path / "out")
    assert result.status == 2
    assert "--target: got paper, allowed are lava" in result.err
    result = cli("export", "zoo:digits", "--target", "lava", "-o", tmp_path / "out")
    assert (result.status, (tmp_path / "out").exists()) == (2, False)
    assert "got neurons with reset soft, allowed is hard" in result.err
