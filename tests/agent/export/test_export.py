"""The command export writes for SpiNNaker and in C, or says in a line what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import only
from sb3_cases import NEURON, OBSERVATIONS, Case
from stable_baselines3 import PPO

from snn4.agent import runner
from snn4.agent.export.normalizing import of_observations
from snn4.agent.export.source import PolicySource, open_policy, open_source
from snn4.agent.life import kind
from snn4.policies.deploy import load
from snn4.policies.export.bundle import read_bundle

HARD = ("policy.neuron={reset: hard, v_threshold: 0.5}", "world.0.steps=64")


@pytest.fixture(scope="module")
def life(tiny: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    runner.begin(kind, tiny(*HARD, "learner.normalize=true"), runs, quiet=True)  # type: ignore[arg-type]
    return only(runs)


def test_a_bundle_for_spinnaker_is_whole(life: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli("export", life, "--target", "spinnaker", "-o", tmp_path / "bundle")
    assert (done.status, done.out) == (0, f"exported: {tmp_path / 'bundle'}\n")
    manifest = read_bundle(tmp_path / "bundle")
    assert set(manifest["files"]) == {"network.npz", "network.json", "examples.npz", "run_pynn.py"}
    about = json.loads((tmp_path / "bundle" / "network.json").read_text())
    assert [population["size"] for population in about["populations"]] == [16, 16]
    assert (about["steps"], about["input"]) == (2, {"shape": [4], "clip": 10.0})
    examples, source = np.load(tmp_path / "bundle" / "examples.npz"), open_source(str(life))
    assert isinstance(source, PolicySource)
    arrays = np.load(tmp_path / "bundle" / "network.npz")
    seen = ((examples["inputs"] - arrays["input.mean"]) / arrays["input.std"]).astype(np.float32)
    expected, _ = source.policy.predict(seen, deterministic=True)
    np.testing.assert_array_equal(examples["scores"].argmax(1), expected)


NEST = os.environ.get("SNN4_PYNN_PYTHON")


@pytest.mark.skipif(NEST is None, reason="SNN4_PYNN_PYTHON is not set: a Python with PyNN and NEST (docs/spinnaker.md)")
def test_nest_decides_as_the_policy(life: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    assert cli("export", life, "--target", "spinnaker", "-o", tmp_path / "bundle").status == 0
    command = [str(NEST), "-W", "ignore", "run_pynn.py", "--simulator", "nest", "--out", "out.npz"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(command, cwd=tmp_path / "bundle", env=environment, check=True, capture_output=True, timeout=120)
    expected = np.load(tmp_path / "bundle" / "examples.npz")["scores"]
    np.testing.assert_allclose(np.load(tmp_path / "bundle" / "out.npz")["scores"], expected, atol=1e-5)


@pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not there: install a C compiler")
def test_a_c_file_compiles(life: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    assert cli("export", life, "--target", "c", "--bits", "4", "-o", tmp_path / "net.c").status == 0
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "-c", "net.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert "int tiny_decide(const float *observation, float *scores)" in (tmp_path / "net.c").read_text()


def test_a_deployed_policy_sees_what_the_environment_gives(life: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    done = cli("export", life, "--target", "deploy", "-o", tmp_path / "policy.npz")
    assert (done.status, done.out) == (0, f"exported: {tmp_path / 'policy.npz'}\n")
    deployed, trained = load(tmp_path / "policy.npz"), open_policy(str(life))
    seen = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    normalization: Any = of_observations(trained.normalization)
    normalised = ((seen - normalization.mean) / normalization.std).clip(-10, 10).astype(np.float32)
    expected, _ = trained.policy.predict(normalised, deterministic=True)
    np.testing.assert_array_equal(deployed.act(seen), expected)


def test_the_zip_of_an_agent_can_be_deployed(cli: Callable[..., Any], tmp_path: Path) -> None:
    model = Case(PPO, "Box", {}, {"neuron": NEURON}).model()
    model.save(tmp_path / "agent.zip")
    assert cli("export", tmp_path / "agent.zip", "--target", "deploy", "-o", tmp_path / "policy.npz").status == 0
    expected, _ = model.predict(OBSERVATIONS, deterministic=True)
    np.testing.assert_allclose(load(tmp_path / "policy.npz").act(OBSERVATIONS), expected, atol=1e-6)
    refused = cli("export", tmp_path / "agent.zip", "--target", "deploy", "--task", "x", "-o", tmp_path / "other.npz")
    assert refused.status == 2
    assert "--task: not allowed for" in refused.err


def test_a_policy_with_memory_can_be_deployed(
    tiny: Callable[..., Any], cli: Callable[..., Any], tmp_path: Path
) -> None:
    carrying = ("policy.state=carry", "policy.T=1", "world.0.steps=64")
    runner.begin(kind, tiny(*carrying), tmp_path / "runs", quiet=True)  # type: ignore[arg-type]
    run = only(tmp_path / "runs")
    assert cli("export", run, "--target", "deploy", "-o", tmp_path / "policy.npz").status == 0
    deployed, policy = load(tmp_path / "policy.npz"), open_policy(str(run)).policy
    state = None
    for x in np.random.default_rng(0).normal(size=(30, 1, 4)).astype(np.float32):
        expected, state = policy.predict(x, state, deterministic=True)
        np.testing.assert_array_equal(deployed.act(x), expected)


def test_what_is_wrong_is_said_and_nothing_is_written(
    life: Path, tiny: Callable[..., Any], cli: Callable[..., Any], tmp_path: Path
) -> None:
    runner.begin(kind, tiny("world.0.steps=64"), tmp_path / "runs", quiet=True)  # type: ignore[arg-type]
    soft, out = only(tmp_path / "runs"), tmp_path / "out"
    for run, options, message in [
        (life, ("--target", "abacus"), "--target: got abacus, allowed are lava, nir, spinnaker, c, deploy"),
        (life, ("--target", "spinnaker", "--bits", "8"), "--bits: is no option of --target spinnaker"),
        (life, ("--target", "c"), f"-o: got {out}, allowed with --target c is a file NAME.c"),
        (life, ("--target", "deploy"), f"-o: got {out}, allowed with --target deploy is a file NAME.npz"),
        ("zoo:digits", ("--target", "deploy"), "zoo:digits: got a classifier, allowed are a life"),
        (soft, ("--target", "spinnaker"), "policy.neuron.reset=hard policy.initial=RUN"),
    ]:
        done = cli("export", run, *options, "-o", out)
        assert done.status == 2
        assert message in " ".join(done.err.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


@pytest.mark.parametrize(
    ("target", "name"),
    [("lava", "net"), ("spinnaker", "net"), ("c", "net.c"), ("nir", "net.nir"), ("deploy", "net.npz")],
)
def test_a_place_that_cannot_be_written(
    life: Path, cli: Callable[..., Any], tmp_path: Path, target: str, name: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file" / name
    done = cli("export", life, "--target", target, "-o", out)
    assert done.status == 2
    assert done.err.startswith(f"-o: cannot write {out} (")
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
