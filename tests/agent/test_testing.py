"""The command evaluate, for classifiers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import read
from safetensors.torch import load_file, save_file
from torchvision.utils import save_image

from snn4.agent import model

Cli = Callable[..., Any]
SAME = ("top1_accuracy_by_step", "top5_accuracy_by_step", "cross_entropy_nats_by_step", "early_exit", "confusion",
        "class_accuracy", "steps", "flip", "test_samples", "config", "seed")  # fmt: skip


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A model's folder: no more than its config and weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.yaml", "model.safetensors", "ann_twin.safetensors"):
        shutil.copy(trained / name, folder / name)
    return folder


def refused(cli: Cli, *arguments: Any) -> str:
    said = cli("evaluate", *arguments)
    assert (said.status, said.out, len(said.err.splitlines())) == (2, "", 1)
    return said.err  # type: ignore[no-any-return]


def test_evaluate_measures_what_the_summary_says(cli: Cli, trained: Path) -> None:
    said = cli("evaluate", trained, "--json")
    assert (said.status, said.err) == (0, "")
    mine, theirs = json.loads(said.out), read(trained / "summary.json")
    assert {key: mine[key] for key in SAME} == {key: theirs[key] for key in SAME}
    for row, other in zip(mine["indicators"], theirs["indicators"], strict=True):
        assert {k: v for k, v in row.items() if k != "latency"} == {k: v for k, v in other.items() if k != "latency"}


def test_a_model_s_folder_is_enough(cli: Cli, copied: Path, trained: Path) -> None:
    (copied / "ann_twin.safetensors").unlink()
    data = json.loads(cli("evaluate", copied, "--json").out)
    assert data["top1_accuracy_by_step"] == read(trained / "summary.json")["top1_accuracy_by_step"]
    assert data["indicators"][2]["top1_accuracy"] is None  # a twin that has not learned
    assert data["indicators"][2]["effective_macs"] > 0


def test_as_a_table_with_a_report(cli: Cli, trained: Path, tmp_path: Path) -> None:
    said = cli("evaluate", trained, "--report", tmp_path / "mine.html")
    top1 = read(trained / "summary.json")["indicators"][0]["top1_accuracy"]
    assert f"{100 * top1:.2f}" in said.out
    assert f"report: {tmp_path}/mine.html" in said.out
    page = (tmp_path / "mine.html").read_text()
    assert "network: training loss" in page
    assert f"{100 * top1:.2f}" in page


def test_other_steps(cli: Cli, trained: Path) -> None:
    whole = read(trained / "summary.json")
    for steps in (1, 3):
        data = json.loads(cli("evaluate", trained, "--steps", str(steps), "--json").out)
        assert data["steps"] == data["indicators"][0]["latency_steps"] == steps
        assert data["top1_accuracy_by_step"][:2] == whole["top1_accuracy_by_step"][:steps][:2]


def test_more_steps_than_its_norms_know(cli: Cli, tmp_path: Path) -> None:
    small = ["training.epochs=1", "data.limit=100", "network.T=2", "network.options={channels: [4, 4], norm: step}"]
    assert cli("train", "digits", *small, "ann_twin=false", "--quiet", "--runs-dir", tmp_path).status == 0
    (folder,) = tmp_path.iterdir()
    assert f"{folder}: steps: got 4 after 0, allowed is 2 in all" in refused(cli, folder, "--steps", "4")


def test_models_of_the_zoo(cli: Cli, copied: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "ZOO", copied.parent)
    data = json.loads(cli("evaluate", "zoo:model", "--json").out)
    assert data["top1_accuracy_by_step"] == read(trained / "summary.json")["top1_accuracy_by_step"]
    assert refused(cli, "zoo:nothing") == "zoo:nothing: no such model; shipped are zoo:model\n"


# Other data


@pytest.fixture
def images(tmp_path: Path) -> Callable[[int, int], str]:
    """A folder of coloured images of so many classes and pixels."""

    def make(n_classes: int, side: int) -> str:
        torch.manual_seed(0)
        for part in ("train", "test"):
            for name in range(n_classes):
                for number in range(3):
                    path = tmp_path / "images" / part / f"class {name}" / f"{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    save_image(torch.rand(3, side, side), path)
        return str(tmp_path / "images")

    return make


def test_data_that_the_model_cannot_take(cli: Cli, trained: Path, images: Callable[[int, int], str]) -> None:
    said = refused(cli, trained, "--data", images(2, 8))
    assert f"{trained}/model.safetensors: has learned digits and cannot take imagefolder: " in said
    for part in ("in_channels: got 3, allowed is 1", "image_size: got [64, 64], allowed is [8, 8]",
                 "n_classes: got 2, allowed is 10"):  # fmt: skip
        assert part in said


def test_another_folder_of_images(cli: Cli, tmp_path: Path, images: Callable[[int, int], str]) -> None:
    path, runs = images(2, 8), tmp_path / "runs"
    data = f"data={{name: imagefolder, folder: {path!r}, image_size: 8, augmentation: flip, validation: 0.4}}"
    config = tmp_path / "c.yaml"
    config.write_text("name: c\ndata: {}\nthreads: 1\nnetwork: {T: 2, options: {channels: [4, 4]}}\n")
    small = ["training.epochs=1", "training.batch_size=2"]
    assert cli("train", config, data, *small, "--runs-dir", runs, "-q").status == 0
    (run,) = runs.iterdir()
    shutil.move(path, tmp_path / "elsewhere")
    assert path in refused(cli, run)
    for file in (tmp_path / "elsewhere" / "train").glob("*/*"):
        save_image(torch.ones(3, 8, 8), file)  # of other brightness, which must not change how the model sees the test
    found = json.loads(cli("evaluate", run, "--data", tmp_path / "elsewhere", "--json").out)
    assert found["test_samples"] == 6
    assert found["cross_entropy_nats_by_step"] == read(run / "summary.json")["cross_entropy_nats_by_step"]


def test_data_that_is_not_there(cli: Cli, trained: Path) -> None:
    assert "did you mean mnist?" in refused(cli, trained, "--data", "minst")


# Models that are none


def test_a_model_of_another_architecture(cli: Cli, copied: Path) -> None:
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace("    - 8\n", "    - 16\n"))
    said = refused(cli, copied)
    assert f"{copied}/model.safetensors: of another architecture than its config" in said
    assert "(8, 4, 3, 3) in the file, (16, 4, 3, 3) in the network" in said


def test_a_model_that_tells_nothing_of_its_data(cli: Cli, copied: Path, trained: Path) -> None:
    path = copied / "model.safetensors"
    save_file(load_file(path), path)
    data = json.loads(cli("evaluate", copied, "--json").out)
    assert data["top1_accuracy_by_step"] == read(trained / "summary.json")["top1_accuracy_by_step"]


def test_damaged_and_missing_models(cli: Cli, copied: Path) -> None:
    (copied / "ann_twin.safetensors").write_bytes(b"x")
    assert "ann_twin.safetensors: cannot be read" in refused(cli, copied)
    (copied / "model.safetensors").unlink()
    assert "model.safetensors: no such file" in refused(cli, copied)


def test_a_report_in_no_folder_is_told_at_once(cli: Cli, trained: Path, tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path}/no" in refused(cli, trained, "--report", tmp_path / "no" / "report.html")
    assert f"{tmp_path}: is a folder" in refused(cli, trained, "--report", tmp_path)


def test_options_that_mean_nothing_here(cli: Cli, trained: Path) -> None:
    assert "--episodes means nothing" in refused(cli, trained, "--episodes", "3")
