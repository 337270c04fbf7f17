from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from snn4.envs.data import datasets
from snn4.envs.data.datasets import DATASETS, Data, DataConfig, MissingData, Samples, load_data


def parts(data: Data) -> list[Samples]:
    return [data.train, data.validation, data.test]


def everything(samples: Samples) -> Tensor:
    return next(samples.batches(len(samples)))[0]


@pytest.fixture(params=["digits", "mnist", "cifar10", "imagefolder", "nmnist"])
def config(request: pytest.FixtureRequest) -> DataConfig:
    """A data set of each kind; all but digits are small and in the real layouts."""
    if request.param == "digits":
        return DataConfig()
    if request.param == "imagefolder":
        pictures: Path = request.getfixturevalue("pictures")
        return DataConfig("imagefolder", root=str(pictures.parent), folder="pictures", image_size=12)
    if request.param == "nmnist":
        pytest.importorskip("tonic")
    return DataConfig(request.param, root=str(request.getfixturevalue(request.param)), download=False)


def test_three_parts_share_no_sample_and_hold_every_class(config: DataConfig) -> None:
    data = load_data(config)
    rows = [part.rows for part in parts(data)]
    assert sorted(torch.cat(rows).tolist()) == list(range(sum(map(len, rows))))
    for part in parts(data):
        assert set(part.labels.tolist()) == set(range(data.n_classes))
    share = 0.1 * (len(data.train) + len(data.validation))
    assert len(data.validation) == max(round(share), data.n_classes)


def test_the_parts_are_the_same_for_every_seed(config: DataConfig) -> None:
    torch.manual_seed(1)
    first = load_data(config)
    torch.manual_seed(2)
    for part, again in zip(parts(first), parts(load_data(config)), strict=True):
        assert torch.equal(part.rows, again.rows)
        assert torch.equal(everything(part), everything(again))


def test_batches_are_what_the_network_sees(config: DataConfig) -> None:
    data = load_data(config)
    x, labels = next(data.train.batches(12))
    time = (config.bins,) if data.is_events else ()
    assert x.shape == (*time, 12, data.in_channels, *data.image_size)
    assert labels.tolist() == data.train.labels[:12].tolist()
    if data.is_events:
        assert torch.equal(x, x.round())  # counts
    elif config.name in ("digits", "imagefolder"):  # the others use the known moments of the real data
        channels = everything(data.train).transpose(0, 1).flatten(1)
        held = everything(data.validation).transpose(0, 1).flatten(1)
        together = torch.cat([channels, held], 1)
        assert channels.mean(1).tolist() == pytest.approx([0] * data.in_channels, abs=1e-4)
        assert channels.std(1).tolist() == pytest.approx([1] * data.in_channels, abs=1e-3)
        assert together.mean(1).abs().max() > 1e-4  # validation data do not count


def test_folds_test_each_sample_once(config: DataConfig) -> None:
    folds = [load_data(replace(config, folds=3, fold=fold)) for fold in range(3)]
    tested = torch.cat([data.test.rows for data in folds])
    n = sum(map(len, parts(load_data(config))))
    assert sorted(tested.tolist()) == list(range(n))
    for data in folds:
        assert sorted(torch.cat([part.rows for part in parts(data)]).tolist()) == list(range(n))
        assert all(set(part.labels.tolist()) == set(range(data.n_classes)) for part in parts(data))
    with pytest.raises(ValueError, match=r"^folds: got 1, allowed is null or a whole number >= 2"):
        replace(config, folds=1)
    with pytest.raises(ValueError, match=r"^fold: got 3, allowed is 0 to 2, one below folds"):
        replace(config, folds=3, fold=3)
    with pytest.raises(ValueError, match=r"^fold: got 1, allowed is 0 to 0"):
        replace(config, fold=1)


@pytest.mark.parametrize("fraction", [0.001, 0.25, 0.999])
def test_validation_is_a_fraction_with_each_class(fraction: float, mnist: Path) -> None:
    data = load_data(DataConfig("mnist", root=str(mnist), validation=fraction))
    assert len(data.validation) == {0.001: 10, 0.25: 30, 0.999: 110}[fraction]
    for part in parts(data):
        assert set(part.labels.tolist()) == set(range(10))


def test_a_folder_with_a_validation_part_of_its_own(pictures: Path) -> None:
    shutil.copytree(pictures / "test", pictures / "val")
    (pictures / "val" / "eel" / "1.png").unlink()
    data = load_data(DataConfig("imagefolder", folder=str(pictures), root=str(pictures.parent), image_size=12))
    assert [len(part) for part in parts(data)] == [18, 5, 6]


def test_a_limit_takes_from_each_class_its_share() -> None:
    whole, limited = load_data(DataConfig()), load_data(DataConfig(limit=100))
    assert len(limited.train) == 100
    assert torch.bincount(limited.train.labels).min() >= 9
    assert set(limited.train.rows.tolist()) < set(whole.train.rows.tolist())
    for part, whole_part in zip(parts(limited)[1:], parts(whole)[1:], strict=True):
        assert torch.equal(part.rows, whole_part.rows)
    assert (limited.mean, limited.std) == (whole.mean, whole.std)
    assert len(load_data(DataConfig(limit=10**6)).train) == len(whole.train)
    with pytest.raises(ValueError, match=r"^limit: got 9, allowed are 10 or more: one sample per class"):
        load_data(DataConfig(limit=9))


def test_moments_from_the_config() -> None:
    data = load_data(DataConfig(mean=(0.0,), std=(1 / 255,)))
    assert torch.allclose(everything(data.test), data.test.pixels[data.test.rows].float(), atol=1e-3)
    assert (data.mean, data.std) == ((0.0,), (1 / 255,))
    with pytest.raises(ValueError, match=r"^mean: got 3 numbers, allowed are 1, one per channel"):
        load_data(DataConfig(mean=(0.5,) * 3, std=(0.5,) * 3))


def test_the_largest_shift(mnist: Path) -> None:
    assert load_data(DataConfig("mnist", root=str(mnist))).train.augmentation.pad == 3  # an eighth of 28
    assert load_data(DataConfig(pad=2)).train.augmentation.pad == 2
    with pytest.raises(ValueError, match=r"^pad: got 8, allowed is less than the images' side, 8"):
        load_data(DataConfig(pad=8))


def test_erased_pixels_are_the_mean(mnist: Path) -> None:
    data = load_data(DataConfig("mnist", root=str(mnist), erase=9))
    x, _ = next(data.train.batches(50, augment=True))
    changed = x != next(data.train.batches(50))[0]
    assert changed.any()
    assert (x[changed].abs() < 0.01).all()  # after normalization the mean is 0, up to half a grey level
    assert ((x.abs() < 0.01).flatten(1).sum(1) >= 16).all()  # at least a corner of 4 x 4


@pytest.mark.parametrize("alternate", [True, False])
def test_flips_alternate_where_the_config_says_so(cifar10: Path, alternate: bool) -> None:
    config = DataConfig("cifar10", root=str(cifar10), augmentation="flip", alternate_flips=alternate)
    train = load_data(config).train
    first, second = (next(train.batches(len(train), epoch=epoch, augment=True))[0] for epoch in (0, 1))
    assert torch.equal(first, second.flip(-1)) == alternate


def test_events_are_erased_and_shifted_together(nmnist: Path) -> None:
    pytest.importorskip("tonic")
    data = load_data(DataConfig("nmnist", root=str(nmnist), augmentation="crop", pad=3, erase=20, bins=5))
    before, after = everything(data.train), next(data.train.batches(len(data.train), augment=True))[0]
    assert before.shape == after.shape
    n, n_left = (x.sum((0, 2, 3, 4)) for x in (before, after))
    assert (n_left < n).all()  # events are only erased or shifted out of sight
    assert n_left.sum() > 0.4 * n.sum()
    dark = (after == 0).all(0).all(1)  # a square of 20 x 20 has no event in any bin and polarity
    assert (torch.nn.functional.avg_pool2d(dark[:, None].float(), 10, 1).flatten(1).amax(1) == 1).all()


def test_workers_prepare_the_same_batches(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from snn4.envs.data import image_folder

    monkeypatch.setattr(image_folder, "MEMORY", 0)  # images are decoded at use, so workers have work to do
    own: dict[str, Any] = {"folder": str(pictures), "root": str(pictures.parent), "image_size": 12}
    batches = []
    for workers in (0, 2):
        train = load_data(DataConfig("imagefolder", augmentation="trivial", **own)).train
        batches.append(list(train.batches(4, shuffle_seed=1, epoch=2, augment=True, first=1, workers=workers)))
    assert len(batches[0]) == len(batches[1]) == 3
    for (x, y), (a, b) in zip(*batches, strict=True):
        assert torch.equal(x, a)
        assert torch.equal(y, b)


def test_the_environment_names_the_root(mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNN4_DATA", str(mnist))
    assert len(load_data(DataConfig("mnist")).test) == 30
    with pytest.raises(MissingData, match=r"^mnist: .*nowhere/MNIST is not there"):
        load_data(DataConfig("mnist", root=str(tmp_path / "nowhere"), download=False))


def test_faults_of_the_files(pictures: Path, nmnist: Path, write_idx: Callable[..., None], mnist: Path) -> None:
    own: dict[str, Any] = {"folder": str(pictures), "root": str(pictures.parent), "image_size": 12}
    (pictures / "train" / "cat" / "0.png").write_text("")
    with pytest.raises(ValueError, match=r"^1 of 24 files cannot be read: .*cat/0.png"):
        load_data(DataConfig("imagefolder", **own))
    skipped = load_data(DataConfig("imagefolder", on_error="skip", **own))
    assert [len(part) for part in parts(skipped)] == [14, 3, 6]
    assert skipped.notes[0].startswith("left out: 1 of 24 files")
    for number in range(2, 6):
        (pictures / "train" / "cat" / f"{number}.png").unlink()
    with pytest.raises(ValueError, match=r"^classes: got too few samples of cat \(1\), allowed are 2"):
        load_data(DataConfig("imagefolder", on_error="skip", **own))
    write_idx(mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte", torch.full((120,), 10).numpy())
    with pytest.raises(ValueError, match=r"^labels: got 10 for sample 0"):
        load_data(DataConfig("mnist", root=str(mnist)))
    pytest.importorskip("tonic")
    with pytest.raises(ValueError, match=r"^image_size: got 35, allowed for nmnist is 1 to 34"):
        load_data(DataConfig("nmnist", root=str(nmnist), image_size=35))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "cifar-10"}, r"name: got 'cifar-10', did you mean cifar10\? Allowed are digits, mnist"),
        ({"name": "?"}, r"name: got '\?', allowed are digits, mnist"),
        ({"augmentation": "flip"}, "augmentation: got flip, allowed for digits are none, crop"),
        ({"name": "nmnist", "augmentation": "flip_crop"}, "augmentation: got flip_crop, allowed for nmnist are none"),
        ({"name": "cifar10-dvs", "augmentation": "trivial"}, "augmentation: got trivial, allowed for cifar10-dvs are"),
        ({"augmentation": "mirror"}, "augmentation: got 'mirror', allowed are none, crop, flip"),
        (
            {"alternate_flips": True},
            "augmentation: none is not allowed with alternate_flips: true; set alternate_flips: false for digits",
        ),
        (
            {"name": "cifar10", "augmentation": "crop", "alternate_flips": True},
            "augmentation: crop is not allowed with alternate_flips: true; set augmentation: flip, flip_crop, ",
        ),
        ({"binning": "spikes"}, "binning: got 'spikes', allowed are time, count"),
        ({"on_error": "ask"}, "on_error: got 'ask', allowed are stop, skip"),
        ({"validation": 0}, "validation: got 0, allowed is a fraction above 0 and below 1"),
        ({"validation": float("nan")}, "validation: got nan, allowed is a fraction above 0 and below 1"),
        ({"image_size": 0}, "image_size: got 0, allowed is a whole number >= 1"),
        ({"bins": 0}, "bins: got 0, allowed is a whole number >= 1"),
        ({"limit": 0}, "limit: got 0, allowed is a whole number >= 1"),
        ({"pad": -1}, "pad: got -1, allowed is a whole number >= 0"),
        ({"erase": -1}, "erase: got -1, allowed is a whole number >= 0"),
        ({"mean": (0.5,)}, r"std: got None, allowed are as many numbers as in mean, \(0.5,\)"),
        ({"mean": (0.5,), "std": (0.0,)}, r"std: got \(0.0,\), allowed are finite numbers > 0"),
        ({"mean": (123.7,), "std": (58.0,)}, r"mean: got \(123.7,\), allowed are numbers from 0 to 1"),
        ({"name": "imagefolder"}, "folder: got None, allowed is the folder of the images"),
        ({"folder": "x"}, "folder: got x, allowed is None for digits"),
    ],
)
def test_what_a_config_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        DataConfig(**fields)


def test_every_name_is_listed() -> None:
    assert set(DATASETS) == {*datasets.IMAGE_SETS, *datasets.EVENT_SETS, "digits", "imagefolder"}


def test_digits_are_not_mirrored() -> None:
    for name in DATASETS:
        config = DataConfig(name, folder="x" if name == "imagefolder" else None)
        assert ("flip" in config.augmentations) == (name not in ("digits", "mnist", "nmnist", "dvs128-gesture"))
