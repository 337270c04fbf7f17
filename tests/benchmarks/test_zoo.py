from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from snn4.agent import kinds, runner
from snn4.agent.models import files as model
from snn4.agent.models.files import ModelError
from snn4.benchmarks import zoo


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a training that takes seconds."""
    changes = ["name=quick_digits", "training.epochs=1", "network.options.channels=[4,8]", "data.limit=200"]
    runs = tmp_path_factory.mktemp("runs")
    runner.begin(*kinds.load("digits", [*changes, "network.T=2"]), runs, quiet=True)
    return next(runs.iterdir())


def test_a_shipped_model_is_the_trained_one_in_half_precision(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = zoo.ship(run, tmp_path)
    assert folder == tmp_path / "quick-digits"
    trained, shipped = (load_file(place / "model.safetensors") for place in (run, folder))
    assert shipped["network.0.weight"].dtype == torch.float16
    for name, weight in trained.items():
        torch.testing.assert_close(shipped[name].float(), weight.float(), atol=1e-3, rtol=1e-3)
    assert (folder / "model.safetensors").stat().st_size < 0.8 * (run / "model.safetensors").stat().st_size
    runner.evaluate(str(folder), {})
    assert "359 test samples" in capsys.readouterr().out


def test_norms_and_time_constants_keep_their_precision() -> None:
    changes = ["network.options={channels: [4], norm: step}", "network.neuron={kind: plif}"]
    about = {"in_channels": 1, "image_size": [8, 8], "n_classes": 10}
    halved = zoo._synapses(kinds.load("digits", changes)[1], about)
    assert {name.rpartition(".")[2] for name in halved} == {"weight"}
    assert len(halved) == 2, "a convolution and the readout"


def test_the_config_says_nothing_of_one_machine(run: Path, tmp_path: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("root: null", "root: /somewhere"))
    assert kinds.load(run / "config.yaml")[1].data.root == "/somewhere"
    assert kinds.load(zoo.ship(run, tmp_path) / "config.yaml")[1].data.root is None


def test_a_large_model_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "LARGEST", 1000)
    with pytest.raises(ModelError, match=r"got a model of 0\.0 MB, allowed in the zoo are 0 MB"):
        zoo.ship(run, tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_shipped_model_names_its_classes_and_data() -> None:
    folders = sorted(path for path in model.ZOO.iterdir() if path.is_dir())
    assert {folder.name for folder in folders} >= {"cifar10", "digits", "fashion-mnist", "spikformer-fashion-mnist"}
    for folder in folders:
        about = model.read_about(folder / "model.safetensors")
        assert len(about["classes"]) == about["n_classes"]
        assert kinds.load(folder / "config.yaml")[1].data.name == about["data"]
