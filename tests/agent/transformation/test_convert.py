"""The command ``convert``, and what is done with the run folders that it makes."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import events_in, only, read
from safetensors.torch import load_file

from snn4.agent import kinds
from snn4.agent.config.file import built, dump
from snn4.agent.evaluation.accuracy import recognize
from snn4.agent.models.files import read_about, save_model
from snn4.agent.models.sources import open_model
from snn4.agent.run.events import Evaluated, Learned
from snn4.envs.data.datasets import DataConfig, load_data
from snn4.learners.conversion.conversion import ConversionConfig, convert
from snn4.policies.networks.ann import twin
from snn4.policies.networks.architectures import make_architecture
from snn4.policies.networks.classifier import Classifier, SpikingClassifier
from snn4.policies.networks.config import NetworkConfig

Cli = Callable[..., Any]
SMALL = ("data.limit=160", "convert.images=60", "examined=30", "threads=1")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torch.save writes it: a small ResNet for gray images."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.save(make_architecture("resnet-20-a", 10, 1).state_dict(), path)
    return path


def begun(cli: Cli, runs: Path, *arguments: str | Path) -> tuple[Path, str]:
    """The folder of a conversion, and what was printed."""
    result = cli("convert", *arguments, *SMALL, "--runs-dir", runs)
    assert (result.status, result.err) == (0, "")
    return only(runs), result.out


def test_a_training_is_converted(cli: Cli, trained: Path, tmp_path: Path) -> None:
    """Its data set is known. The network is that of `convert`, and the twin is the training's."""
    folder, out = begun(cli, tmp_path, trained, "--steps", "6", "--method", "calibrate", "--neuron", "if")
    kind, config = kinds.load(folder / "config.yaml")
    assert (kind.name, config.data.name, config.model.source) == ("transformation", "digits", str(trained))
    assert (config.convert.T, config.convert.method, config.convert.neuron) == (6, "calibrate", "if")
    for part in ("layers: rates of the SNN", "correlation", "measured on 30 validation images"):
        assert part in out
    module, about = open_model(str(trained))
    data = load_data(DataConfig("digits", limit=160, mean=about.mean, std=about.std))
    calibration = next(iter(data.train.batches(60, shuffle_seed=0, augment=False)))[0]
    expected = convert(module, calibration, ConversionConfig(T=6, neuron="if", images=60)).network.state_dict()
    got = load_file(folder / "model.safetensors")
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], x) for name, x in expected.items())
    same, _ = open_model(str(folder))
    with torch.no_grad():
        torch.testing.assert_close(same(calibration), module(calibration), rtol=1e-3, atol=1e-3)
    assert [event.task for event in events_in(folder) if isinstance(event, Learned)][-1] == "compare layers"


def test_the_diagnosis_is_that_of_the_network(converted: Path) -> None:
    """Of a qcfs run: the accuracy in its summary is that of the files, on the same images."""
    summary, about = read(converted / "summary.json"), read_about(converted / "model.safetensors")
    network, _ = open_model(str(converted / "model.safetensors"))
    assert isinstance(network, SpikingClassifier)
    data = load_data(DataConfig("digits", limit=160, mean=tuple(about["mean"]), std=tuple(about["std"])))
    examined = list(data.validation.batches(30, shuffle_seed=0))[:1]
    accuracy = recognize(network, examined, data.n_classes).top1
    assert accuracy == pytest.approx(summary["diagnosis"]["accuracy_by_step"])
    score = [event for event in events_in(converted) if isinstance(event, Evaluated)][-1].scores["digits"]
    assert score["return_mean"] == accuracy[-1]
    assert (summary["finetuned_epochs"], summary["diagnosis"]["images"]) == (2, 30)
    twin_, _ = open_model(str(converted))
    (original,) = recognize(twin_, examined, data.n_classes).top1
    assert original == pytest.approx(summary["source_accuracy"])
    assert summary["source"].endswith(Path(kinds.load(converted / "config.yaml")[1].model.source).name)


def test_the_twin_of_a_finetuned_network_is_the_original(converted: Path, trained: Path) -> None:
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    (before, _), (after, _) = open_model(str(trained)), open_model(str(converted))
    assert isinstance(after, Classifier)
    with torch.no_grad():
        torch.testing.assert_close(after(x), before(x), rtol=1e-3, atol=1e-3)


def test_a_file_of_weights(cli: Cli, weights: Path, tmp_path: Path) -> None:
    architecture = ("--architecture", "resnet-20-a", "--data", "digits")
    folder, out = begun(cli, tmp_path / "runs", weights, *architecture, "--steps", "2")
    assert folder.name.startswith("net-snn-")
    assert "measured on 30 validation images" in out
    message = "got no architecture, allowed for a file of weights are resnet-20-a"
    assert message in refused(cli, tmp_path, weights, "--data", "digits")


@pytest.mark.parametrize("method", ["threshold-balance", "calibrate"])
def test_quiet_and_quick(cli: Cli, trained: Path, tmp_path: Path, method: str) -> None:
    arguments = (trained, "--method", method, "--steps", "2", *SMALL, "--quiet", "--runs-dir", tmp_path)
    assert cli("convert", *arguments) == (0, "", "")
    assert read(only(tmp_path) / "run.json")["state"] == "finished"


# What is done with it


def test_evaluate(cli: Cli, converted: Path, tmp_path: Path) -> None:
    """All indicators of the network and its twin, in float32 and in eight bits."""
    result = cli("evaluate", converted, "--json", "--report", tmp_path / "test.html")
    assert (result.status, result.err) == (0, "")
    summary = json.loads(result.out)
    rows = {(row["name"], row["precision"]): row for row in summary["indicators"]}
    assert set(rows) == {("SNN", "fp32"), ("SNN", "int8"), ("ANN", "fp32"), ("ANN", "int8")}
    assert len(summary["top1_accuracy_by_step"]) == 4
    spiking, ann = rows["SNN", "fp32"], rows["ANN", "fp32"]
    assert spiking["spikes_per_decision"] > 0 == ann["spikes_per_decision"]
    assert ann["effective_macs"] > 0
    assert all(row["top1_accuracy"] is not None for row in rows.values())
    page = (tmp_path / "test.html").read_text()
    assert "Confusion matrix" in page
    assert "Finetuning" not in page
    table = cli("evaluate", converted).out
    assert "test: accuracy, and cost per decision" in table


def test_evaluate_with_other_steps(cli: Cli, converted: Path, trained: Path, tmp_path: Path) -> None:
    result = json.loads(cli("evaluate", converted, "--steps", "7", "--json").out)
    assert len(result["top1_accuracy_by_step"]) == result["steps"] == 7
    folder, _ = begun(cli, tmp_path, trained, "--steps", "4", "convert.burn_in=2")
    result = cli("evaluate", folder, "--steps", "2")
    assert result == (2, "", f"{folder}: got 2 steps, allowed are more than its burn_in (2)\n")
    assert len(json.loads(cli("evaluate", folder, "--steps", "3", "--json").out)["top1_accuracy_by_step"]) == 3


def test_a_report_of_it(cli: Cli, converted: Path, tmp_path: Path) -> None:
    assert cli("report", converted, tmp_path / "page.html").status == 0
    page = (tmp_path / "page.html").read_text()
    summary = read(converted / "summary.json")
    assert all(layer["name"] in page for layer in summary["diagnosis"]["layers"])
    assert summary["reason"].replace("'", "&#x27;") in page


def test_it_is_converted_again(cli: Cli, converted: Path, tmp_path: Path) -> None:
    """From its twin, which has the nodes of a graph."""
    folder, _ = begun(cli, tmp_path, converted, "--steps", "3")
    (before, _), (after, _) = open_model(str(converted)), open_model(str(folder))
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(after(x), before(x), rtol=1e-3, atol=1e-3)


def test_it_teaches(cli: Cli, digits_yaml: Path, converted: Path, tmp_path: Path) -> None:
    """Both of its networks, together."""
    both = ("--teacher", converted, "--teacher", converted / "model.safetensors")
    result = cli("distill", digits_yaml, *both, "training.epochs=1", "ann_twin=false", "-q", "--runs-dir", tmp_path)
    assert result == (0, "", "")


def test_its_network_is_written_in_yaml(cli: Cli, converted: Path, tmp_path: Path) -> None:
    """As a network of a training, which learns on from nothing but the shape."""
    about = read_about(converted / "model.safetensors")
    config = kinds.load("digits", ["data.limit=160", "training.epochs=1", "training.batch_size=32"])[1]
    path = tmp_path / "graph.yaml"
    network = about["network"]
    path.write_text(re.sub(r"(?ms)^network:\n.*?(?=^\w)", "", dump(config)) + f"network: {json.dumps(network)}\n")
    loaded = kinds.load(path)[1].network
    assert loaded.resolve(1, (8, 8), 10) == built(network, NetworkConfig).resolve(1, (8, 8), 10)
    assert cli("train", path, "ann_twin=false", "-q", "--runs-dir", tmp_path / "runs") == (0, "", "")
    nodes = network["options"]["nodes"]
    for wrong, message in (
        ([[*nodes[0][:3], {}], *nodes[1:]], "allowed are options of conv2d"),
        (nodes[1:], "allowed are names of earlier nodes"),
        ("x", "allowed is a list of nodes"),
    ):
        result = cli("train", path, f"network.options={json.dumps({'nodes': wrong})}", "--runs-dir", tmp_path / "no")
        assert (result.status, result.out, len(result.err.splitlines())) == (2, "", 1), result.err
        assert message in result.err
    assert not (tmp_path / "no").exists()


def test_keys(cli: Cli) -> None:
    result = cli("config", "convert")
    assert (result.status, result.err) == (0, "")
    for part in ("convert.method", "threshold-balance, calibrate", "convert.burn_in"):
        assert part in result.out
    result = cli("config", "--kind", "transformation")
    assert "model.architecture" in result.out
    assert "finetune.epochs" in result.out


def test_the_plan(cli: Cli, transformation_yaml: Path) -> None:
    result = cli("world", transformation_yaml)
    assert result.status == 0
    for part in ("tiny-snn, seed 0", "digits", "qcfs", "signed_if", "2 epochs"):
        assert part in result.out


# Bad input


def refused(cli: Cli, folder: Path, *arguments: str | Path) -> str:
    """The one line that ``convert`` says; it leaves nothing."""
    runs = folder / "no-runs"
    result = cli("convert", *arguments, "--runs-dir", runs)
    assert (result.status, result.out, len(result.err.splitlines())) == (2, "", 1), result
    assert not runs.exists()
    return str(result.err)


class Executed:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.th", "ann_twin.safetensors"])
def test_pickles_are_not_executed(cli: Cli, tmp_path: Path, name: str) -> None:
    made, path = tmp_path / "made", tmp_path / name
    if name == "model.pth":
        path.write_bytes(pickle.dumps(Executed(made)))
    else:
        torch.save({"weight": Executed(made)}, path)
    message = refused(cli, tmp_path, path, "--architecture", "resnet-20-a", "--data", "digits")
    assert str(path) in message
    assert not made.exists()


def test_another_number_of_classes(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "five.pt"
    torch.save(make_architecture("resnet-20-a", 5, 1).state_dict(), path)
    message = refused(cli, tmp_path, path, "--architecture", "resnet-20-a", "--data", "digits")
    assert f"{path}: has 5 classes, allowed are 10, those of the data" in message
    path = tmp_path / "colours.pt"
    torch.save(make_architecture("resnet-20-a", 10, 3).state_dict(), path)
    message = refused(cli, tmp_path, path, "--architecture", "resnet-20-a", "--data", "digits")
    assert "got 3 numbers, allowed are 1, one per channel" in message


def test_weights_of_another_architecture(cli: Cli, weights: Path, tmp_path: Path) -> None:
    message = refused(cli, tmp_path, weights, "--architecture", "resnet-32-a", "--data", "digits")
    assert "does not fit resnet-32-a" in message
    assert "architecture: got 'resnet-9'" in refused(cli, tmp_path, weights, "--architecture", "resnet-9")


def test_a_spiking_network(cli: Cli, trained: Path, converted: Path, tmp_path: Path) -> None:
    for folder in (trained, converted):
        message = refused(cli, tmp_path, folder / "model.safetensors")
        assert f"{folder / 'model.safetensors'}: is a spiking network already; allowed is an ANN" in message


def test_an_ann_that_cannot_be_converted(cli: Cli, trained: Path, tmp_path: Path) -> None:
    """A twin with attention, in a folder as a training leaves it."""
    network = NetworkConfig("spikformer-tiny", 2, options={"width": 16, "heads": 2, "channels": [8, 16], "depth": 1})
    about = read_about(trained / "ann_twin.safetensors")
    folder = tmp_path / "attentive"
    folder.mkdir()
    text = json.dumps({"name": network.name, "T": 2, "options": network.options})
    config = (trained / "config.yaml").read_text()
    (folder / "config.yaml").write_text(re.sub(r"(?ms)^network:\n.*?(?=^\w)", f"network: {text}\n", config))
    save_model(folder / "ann_twin.safetensors", twin(network.resolve(1, (8, 8), 10)).state_dict(), about)
    message = refused(cli, tmp_path, folder)
    assert f"{folder}: " in message
    assert "cannot be converted" in message or "torch.fx cannot follow" in message


def test_weights_that_are_not_finite(cli: Cli, tmp_path: Path) -> None:
    module = make_architecture("resnet-20-a", 10, 1)
    with torch.no_grad():
        module.conv1.weight[0] = torch.nan  # type: ignore[union-attr, operator, index]
    torch.save(module.state_dict(), tmp_path / "nan.pt")
    message = refused(cli, tmp_path, tmp_path / "nan.pt", "--architecture", "resnet-20-a", "--data", "digits")
    assert "conv1.weight" in message
    assert "NaN" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere: no such file or folder"), (("zoo:nowhere",), "nowhere"),
        (("--method", "magic"), "convert.method: got 'magic'"), (("--neuron", "lif"), "convert.neuron: got 'lif'"),
        (("convert.burn_in=8",), "convert.burn_in: got 8"), (("model.mean=[0.5]",), "model.std: got None"),
        (("model.mean=[0.5]", "model.std=[0]"), "model.std: got"), (("--data", "nothing"), "data.name: got 'nothing'"),
        (("--data", "nmnist"), "data: got nmnist, allowed are images"), (("seed=-1",), "seed: got -1"),
        (("convert.images=0",), "images: got 0"), (("data=digits",), "data"),
    ],
)  # fmt: skip
def test_wrong_arguments(cli: Cli, trained: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    source = () if arguments[0].endswith("nowhere") else (trained,)
    assert message in refused(cli, tmp_path, *source, *arguments)
