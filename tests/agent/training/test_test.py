"""The command evaluate, for classifiers."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from run_folders import only, read
from safetensors.torch import load_file, save_file
from torchvision.utils import save_image

from snn4.agent import kinds
from snn4.agent.evaluation.shown import InOrder, Shown
from snn4.agent.models import files as model
from snn4.agent.models.files import read_about, save_model
from snn4.agent.training.config import TrainingConfig
from snn4.envs.data.datasets import load_data

Cli = Callable[..., Any]


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A model's folder: no more than its config and weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.yaml", "model.safetensors", "ann_twin.safetensors"):
        shutil.copy(trained / name, folder / name)
    return folder


def config_in(folder: Path) -> TrainingConfig:
    return kinds.load(folder / "config.yaml")[1]  # type: ignore[no-any-return]


def evaluated(cli: Cli, *arguments: Any) -> Any:
    """The summary of this evaluation."""
    return json.loads(cli("evaluate", *arguments, "--json").out)


def refused(cli: Cli, *arguments: Any) -> str:
    result = cli("evaluate", *arguments)
    assert (result.status, result.out, len(result.err.splitlines())) == (2, "", 1)
    return result.err  # type: ignore[no-any-return]


@pytest.mark.parametrize("place", ["folder", "zoo", "folder without about"])
def test_a_model_s_folder_is_enough(
    cli: Cli, copied: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(model, "ZOO", copied.parent)
    (copied / "ann_twin.safetensors").unlink()
    path = copied / "model.safetensors"
    if place == "folder without about":
        save_file(load_file(path), path)
    data = evaluated(cli, "zoo:model" if place == "zoo" else copied)
    assert data["top1_accuracy_by_step"] == read(trained / "summary.json")["top1_accuracy_by_step"]
    assert data["indicators"][2]["top1_accuracy"] is None  # a twin that has not learned
    assert data["indicators"][2]["effective_macs"] > 0


def test_as_a_table_with_a_report(cli: Cli, trained: Path, tmp_path: Path) -> None:
    result = cli("evaluate", trained, "--report", tmp_path / "mine.html")
    top1 = read(trained / "summary.json")["indicators"][0]["top1_accuracy"]
    page = (tmp_path / "mine.html").read_text()
    assert f"{100 * top1:.2f}" in result.out
    assert f"{100 * top1:.2f}" in page
    assert "SNN: training loss" in page
    assert f"report: {tmp_path}/mine.html" in result.out


def test_a_bar_counts_samples_in_a_terminal(trained: Path) -> None:
    config = config_in(trained)
    samples = load_data(config.data).test
    with Progress(console=Console(file=io.StringIO(), force_terminal=True)) as progress:
        shown = Shown("test", InOrder(samples), progress)
        for turn in (1, 2):
            counts = []
            for (x, _), (same, _) in zip(shown, InOrder(samples), strict=True):
                (bar,) = progress.tasks
                counts.append(bar.completed)
                assert (bar.description, bar.total) == (f"test data, turn {turn}", len(samples))
                assert torch.equal(x, same)
            assert counts == [128.0 * number for number in range(len(counts))], "of the batches before"
            assert not progress.tasks


def test_other_steps(cli: Cli, trained: Path) -> None:
    whole = read(trained / "summary.json")
    for steps in (1, 3):
        data = evaluated(cli, trained, "--steps", str(steps))
        assert data["steps"] == data["indicators"][0]["latency_steps"] == steps
        assert data["top1_accuracy_by_step"][:2] == whole["top1_accuracy_by_step"][:steps][:2]


def test_more_steps_than_its_norms_know(cli: Cli, digits_yaml: Path, tmp_path: Path) -> None:
    small = ["training.epochs=1", "ann_twin=false", "network.options={channels: [4, 4], norm: step}"]
    assert cli("run", digits_yaml, *small, "--quiet", "--runs-dir", tmp_path).status == 0
    folder = only(tmp_path)
    assert f"{folder}: steps: got 4 after 0, allowed is 2 in all" in refused(cli, folder, "--steps", "4")


# Other data


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., str]:
    """A folder of coloured images of so many classes and pixels, or of classes of these names."""

    def make(classes: int | str, side: int, folder: str = "images") -> str:
        torch.manual_seed(0)
        names = classes if isinstance(classes, str) else [f"class {number}" for number in range(classes)]
        for part, name, number in product(("train", "test"), names, range(3)):
            path = tmp_path / folder / part / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(torch.rand(3, side, side), path)
        return str(tmp_path / folder)

    return make


@pytest.fixture
def coloured(cli: Cli, tmp_path: Path, images: Callable[..., str]) -> Path:
    """The run folder of a training on images of 12 x 12 pixels, two classes, a and b."""
    path = images("ab", 12, "learned")
    config, runs = tmp_path / "c.yaml", tmp_path / "runs"
    data = f"data={{name: imagefolder, folder: {path!r}, image_size: 12, augmentation: flip, validation: 0.4}}"
    config.write_text("name: c\ndata: {}\nthreads: 1\nnetwork: {T: 2, options: {channels: [4, 4]}}\n")
    small = ["training.epochs=1", "training.batch_size=2", "data.on_error=skip"]
    assert cli("train", config, data, *small, "--runs-dir", runs, "-q").status == 0
    return only(runs)


def test_data_that_the_model_cannot_take(cli: Cli, trained: Path, coloured: Path, images: Callable[..., str]) -> None:
    problem = refused(cli, trained, "--data", images(2, 8))
    message = "has learned digits and cannot take imagefolder: n_classes: got 2, allowed is 10"
    assert problem == f"{trained}/model.safetensors: {message}\n"
    problem = refused(cli, coloured, "--data", "digits")
    assert f"{coloured}/model.safetensors: has learned imagefolder and cannot take digits: " in problem
    assert "in_channels: got 1, allowed is 3; n_classes: got 10, allowed is 2" in problem


def test_another_folder_of_images(cli: Cli, coloured: Path, tmp_path: Path) -> None:
    """Its training images are of other brightness, which must not change how the model sees the test."""
    path = tmp_path / "learned"
    shutil.move(path, tmp_path / "elsewhere")
    assert str(path) in refused(cli, coloured)
    for file in (tmp_path / "elsewhere" / "train").glob("*/*"):
        save_image(torch.ones(3, 12, 12), file)
    summary = evaluated(cli, coloured, "--data", tmp_path / "elsewhere")
    assert summary["test_samples"] == 6
    assert summary["cross_entropy_nats_by_step"] == read(coloured / "summary.json")["cross_entropy_nats_by_step"]
    assert summary["notes"] == []


def test_a_folder_has_the_size_that_the_model_has_learned(cli: Cli, coloured: Path, images: Callable[..., str]) -> None:
    config = coloured / "config.yaml"
    config.write_text(config.read_text().replace("image_size: 12", "image_size: null"))  # as of CIFAR's models
    summary = evaluated(cli, coloured, "--data", images("ab", 20))
    assert (summary["config"]["data"]["image_size"], summary["test_samples"]) == (12, 6)
    assert "image_size: got [8, 8], allowed is [12, 12]" in refused(cli, coloured, "--data", "digits")


def test_grey_models_see_folders_in_grey(cli: Cli, trained: Path, tmp_path: Path) -> None:
    """The same digits, as grey pictures in a folder, give the same decisions."""
    data = load_data(config_in(trained).data)
    for part, samples in (("train", data.train), ("test", data.test)):
        for number, (row, label) in enumerate(zip(samples.rows, samples.labels, strict=True)):
            path = tmp_path / "grey" / part / str(int(label)) / f"{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(data.test.pixels[row.view(1)][0] / 255, path)
    summary, known = evaluated(cli, trained, "--data", tmp_path / "grey"), read(trained / "summary.json")
    for key in ("confusion", "top1_accuracy_by_step", "notes"):
        assert summary[key] == known[key]
    assert summary["cross_entropy_nats_by_step"] == pytest.approx(known["cross_entropy_nats_by_step"], rel=1e-5)


def test_files_that_were_left_out_are_told(
    cli: Cli, coloured: Path, images: Callable[..., str], tmp_path: Path
) -> None:
    path, page = images("ab", 12), tmp_path / "report.html"
    Path(path, "test", "a", "1.png").write_text("damaged")
    config = (coloured / "config.yaml").read_text()
    (coloured / "config.yaml").write_text(config.replace("on_error: skip", "on_error: stop"))  # of its own training
    result = cli("evaluate", coloured, "--data", path, "--report", page)
    for text in (" ".join(result.out.split()), page.read_text()):
        assert "left out: 1 of 12 files cannot be read" in text
    (note,) = evaluated(cli, coloured, "--data", path)["notes"]
    assert note.startswith(f"left out: 1 of 12 files cannot be read: {path}/test/a/1.png (")


def test_classes_of_other_names_are_told(cli: Cli, coloured: Path, images: Callable[..., str]) -> None:
    note = "classes have other names than in the training, and are matched by their order: "
    note += "b stands for a, z stands for b"
    path = images("bz", 12)
    assert note in " ".join(cli("evaluate", coloured, "--data", path).out.split())
    assert evaluated(cli, coloured, "--data", path)["notes"] == [note]
    model_file = coloured / "model.safetensors"
    about = read_about(model_file)
    del about["classes"]  # as in models that were saved before they told
    save_model(model_file, load_file(model_file), about)
    assert evaluated(cli, coloured, "--data", path)["notes"] == []


def test_names_of_data_sets_win_over_folders(
    cli: Cli, trained: Path, images: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images(2, 8, "digits")
    summary = evaluated(cli, trained, "--data", "digits")
    assert summary["top1_accuracy_by_step"] == read(trained / "summary.json")["top1_accuracy_by_step"]
    assert "cannot take imagefolder: n_classes: got 2" in refused(cli, trained, "--data", "./digits")


def test_digits_are_not_mirrored(cli: Cli, copied: Path) -> None:
    config = copied / "config.yaml"
    mirrored = config.read_text().replace("name: digits", "name: fashion-mnist").replace("flip: false", "flip: true")
    config.write_text(mirrored)
    assert config_in(copied).flip
    summary = evaluated(cli, copied, "--data", "digits")
    assert (summary["flip"], summary["config"]["flip"]) == (False, False)


def test_other_data_are_tested_whole(cli: Cli, copied: Path) -> None:
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace("folds: null", "folds: 3").replace("fold: 0", "fold: 2"))
    fold = load_data(config_in(copied).data).test
    assert len(fold) != 359
    for name, tested in (("digits", len(fold)), ("fashion-mnist", 359)):  # what other folds hold was learned
        config.write_text(config.read_text().replace("name: digits", f"name: {name}"))
        summary = evaluated(cli, copied, "--data", "digits")
        assert summary["test_samples"] == tested


def test_data_that_is_not_there(cli: Cli, trained: Path) -> None:
    problem = refused(cli, trained, "--data", "minst")
    message = "which is neither a folder nor a data set; did you mean mnist? Allowed are a folder of images, digits, "
    assert problem.startswith(f"--data: got 'minst', {message}")
    assert "neither a folder nor a data set; allowed are a folder of images, digits, " in refused(
        cli, trained, "--data", "/no/such"
    )
    assert "allowed is the folder of the images" in refused(cli, trained, "--data", "imagefolder")


# Models that are none


def test_damaged_and_missing_models(cli: Cli, copied: Path) -> None:
    assert refused(cli, "zoo:nothing").startswith("zoo:nothing: no such model; shipped are ")
    config = copied / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("    - 8\n", "    - 16\n"))
    problem = refused(cli, copied)
    assert f"{copied}/model.safetensors: of another architecture than its config" in problem
    assert "(8, 4, 3, 3) in the file, (16, 4, 3, 3) in the network" in problem
    config.write_text(text)
    (copied / "ann_twin.safetensors").write_bytes(b"x")
    assert "ann_twin.safetensors: cannot be read" in refused(cli, copied)
    (copied / "model.safetensors").unlink()
    assert "model.safetensors: no such file" in refused(cli, copied)
