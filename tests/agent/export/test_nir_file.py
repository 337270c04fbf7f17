"""NIR files of runs, from the command line and back."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from run_folders import only

from snn4.agent import command_configs, runner
from snn4.agent.life import kind
from snn4.agent.models.files import read_about
from snn4.agent.models.sources import open_model
from snn4.envs.data.datasets import DataConfig, load_data

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def file(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of the tiny training, which has a soft reset."""
    from snn4.agent.export.export import export

    return export(str(trained), "nir", tmp_path_factory.mktemp("nir") / "net.nir", {"allow_soft_reset": True})


@pytest.fixture(scope="module")
def imported(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    chosen, config = command_configs.transformation_of(str(file), {}, ["data.limit=160", "examined=30", "threads=1"])
    runner.begin(chosen, config, runs, quiet=True)
    return only(runs)


def test_the_metadata_say_what_the_network_has_learned(file: Path, trained: Path) -> None:
    about, known = nir.read(file).metadata, read_about(trained / "model.safetensors")
    assert (about["data"], about["T"], about["snn4_format"]) == ("digits", 2, 1)
    assert json.loads(about["classes"]) == list("0123456789")
    np.testing.assert_allclose(about["mean"], known["mean"])


def test_an_import_has_the_scores_of_the_training(imported: Path, trained: Path) -> None:
    before, _ = open_model(str(trained / "model.safetensors"))
    after, about = open_model(str(imported))
    data = load_data(DataConfig("digits", limit=160, mean=about.mean, std=about.std))
    images, _ = next(iter(data.test.batches(100)))
    with torch.no_grad():
        same = torch.isclose(before(images), after(images), atol=1e-4).all(1)
    assert same.float().mean() > 0.98
    assert about.classes == tuple("0123456789")


def test_an_import_is_an_ordinary_model(imported: Path, cli: Cli, tmp_path: Path) -> None:
    """It is tested, learns on, and leaves again."""
    result = cli("evaluate", imported, "--json")
    assert json.loads(result.out)["indicators"][0]["name"] == "SNN"
    lines = ["name: further", "data: {name: digits, limit: 160}", f"initial: {imported}", "training: {epochs: 1}"]
    (tmp_path / "further.yaml").write_text("\n".join(lines))
    result = cli("run", tmp_path / "further.yaml", "threads=1", "training.batch_size=32", "--runs-dir", tmp_path, "-q")
    assert (result.status, result.err) == (0, "")
    (folder,) = tmp_path.glob("further-*")
    result = cli("export", folder, "--target", "nir", "-o", tmp_path / "again.nir", "--allow-soft-reset")
    assert (result.status, result.out) == (0, f"exported: {tmp_path / 'again.nir'}\n")


def test_the_policy_of_a_life_leaves(tiny: Callable[..., Any], cli: Cli, tmp_path: Path) -> None:
    runner.begin(kind, tiny("world.0.steps=64", "policy.neuron.reset=hard"), tmp_path / "runs", quiet=True)  # type: ignore[arg-type]
    path = tmp_path / "new" / "policy.nir"
    assert cli("export", only(tmp_path / "runs"), "--target", "nir", "-o", path).status == 0
    about = nir.read(path).metadata
    assert (about["environment"], json.loads(about["actions"])["kind"]) == ("CartPole-v1", "discrete")
    result = cli("convert", path, "--runs-dir", tmp_path / "imports")
    assert result.err == f"{path}: is a policy of CartPole-v1, allowed are classifiers; in Python, from_nir reads it\n"
    assert not (tmp_path / "imports").exists()


def test_wrong_options_are_named(trained: Path, file: Path, cli: Cli, tmp_path: Path) -> None:
    target = ("export", trained, "--target", "nir", "-o")
    wrong = {
        (*target, tmp_path / "net.nir"): "got neurons with reset: soft, allowed is hard",
        (*target, tmp_path / "net.h5"): "net.h5, allowed with --target nir is a file NAME.nir",
        (*target, tmp_path / "net.nir", "--bits", "8"): "--bits: is no option of --target nir",
        (*target, file): "is there already",
        ("convert", file, "--method", "qcfs"): "--method: not allowed for",
        ("convert", tmp_path / "none.nir"): "none.nir: no such file",
        ("convert", file, "--data", "mnist", "data.download=false", f"data.root={tmp_path}"): "mnist",
    }
    for arguments, message in wrong.items():
        result = cli(*arguments)
        assert result.status != 0
        assert message in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_metadata_needs_data_and_steps(cli: Cli, tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "other.nir"
    lif = nir.LIF(*(np.full(16, value) for value in (1e-3, 1.0, 0.0, 1.0, 0.0)))
    nodes = [
        nir.Affine(rng.normal(0, 1, (16, 64)), np.zeros(16)),
        lif,
        nir.Affine(rng.normal(0, 1, (10, 16)), np.zeros(10)),
    ]
    nir.write(path, nir.NIRGraph.from_list(*nodes))
    assert "does not say what data it has learned; name it with --data" in cli("convert", path).err
    assert "how many steps a decision takes; give them with --steps" in cli("convert", path, "--data", "digits").err
    result = cli("convert", path, "--data", "digits", "--steps", "3", "examined=30", "--runs-dir", tmp_path)
    assert (result.status, result.err) == (0, "")
    assert "2 linear, 1 neuron" in result.out


def test_without_nir_a_line_says_what_to_install(trained: Path, cli: Cli, monkeypatch: Any, tmp_path: Path) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "nir":
            raise ModuleNotFoundError("No module named 'nir'", name="nir")
        return real(name, *arguments, **options)

    for module in [name for name in sys.modules if name.startswith("snn4.policies.export.") and "nir" in name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", without)
    result = cli("export", trained, "--target", "nir", "-o", tmp_path / "net.nir")
    assert result.err == "--target nir: NIR needs nir, which is not installed: pip install 'snn4-agent[nir]'\n"
