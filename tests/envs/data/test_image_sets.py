from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets
from torchvision.transforms import v2

from snn4.envs.data.downloads import MissingData
from snn4.envs.data.image_sets import IMAGE_SETS, read_digits, read_images, resized
from snn4.envs.data.pool import Pool
from snn4.envs.data.reading import OnError

WriteIdx = Callable[[Path, np.ndarray], None]


def read(name: str, root: Path, size: int | None = None, on_error: OnError = "stop", cache: Path | None = None) -> Pool:
    return read_images(name, root, size, cache or root / "cache", on_error, download=False)


def is_torchvisions(pool: Pool, train: datasets.VisionDataset, test: datasets.VisionDataset) -> bool:
    """Whether a pool holds, row by row, the images and labels of torchvision's own data sets."""
    parts = ((pool.train, train), (pool.test, test))
    return all(len(rows) == len(data_set) for rows, data_set in parts) and all(
        torch.equal(pool.pixels[row : row + 1][0], v2.functional.pil_to_tensor(image)) and pool.labels[row] == label
        for rows, data_set in parts
        for row, (image, label) in zip(rows.tolist(), data_set, strict=True)
    )


def test_digits_are_scikit_learns() -> None:
    pool, expected = read_digits(None), load_digits()
    assert pool.pixels.shape == (1797, 1, 8, 8)
    assert torch.equal(pool.pixels.squeeze(1), (torch.tensor(expected.images) * 255 / 16).round().byte())
    assert pool.labels.tolist() == expected.target.tolist()
    assert len(pool.test) == 359
    assert sorted([*pool.train.tolist(), *pool.test.tolist()]) == list(range(1797))
    assert torch.equal(read_digits(None).test, pool.test)
    assert read_digits(16).pixels.shape == (1797, 1, 16, 16)


def test_mnist_is_what_torchvision_reads(mnist: Path) -> None:
    pool = read("mnist", mnist)
    assert is_torchvisions(pool, datasets.MNIST(mnist), datasets.MNIST(mnist, train=False))
    assert pool.classes == datasets.MNIST(mnist).classes
    assert pool.validation is None


def test_cifar10_is_what_torchvision_reads(cifar10: Path) -> None:
    pool = read("cifar10", cifar10)
    assert is_torchvisions(pool, datasets.CIFAR10(cifar10), datasets.CIFAR10(cifar10, train=False))
    assert pool.classes == [f"thing {i}" for i in range(10)]


def test_cifar100_in_folders(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("apple", "bee"):
            folder = tmp_path / "cifar100" / part / name
            folder.mkdir(parents=True)
            Image.new("RGB", (32, 32), (len(name), 2, 3)).save(folder / "0.png")
    pool = read("cifar100", tmp_path)
    assert pool.classes == ["apple", "bee"]
    assert pool.pixels[pool.test][:, 0, 0, 0].tolist() == [5, 3]
    assert pool.mean == IMAGE_SETS["cifar100"].mean
    assert pool.normalization(pool.train) == (IMAGE_SETS["cifar100"].mean, IMAGE_SETS["cifar100"].std)


def test_other_sizes_are_torchvisions(mnist: Path) -> None:
    pool, small = read("mnist", mnist), read("mnist", mnist, 14)
    rows = torch.arange(len(pool.labels))
    assert torch.equal(small.pixels[rows], v2.Resize([14, 14], antialias=True)(pool.pixels[rows]))
    batch = torch.randint(0, 256, (5000, 1, 4, 4), dtype=torch.uint8)
    assert torch.equal(resized(batch, 6)[4990:], resized(batch[4990:], 6))
    assert resized(batch, 4) is batch
    assert resized(batch, None) is batch


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_a_truncated_file(mnist: Path, file: str) -> None:
    whole = mnist / "MNIST" / "raw" / file
    whole.write_bytes(whole.read_bytes()[:-7])
    with pytest.raises(ValueError, match=rf"^{mnist / 'MNIST'} is incomplete or damaged .*move it away to download it"):
        read("mnist", mnist)


def test_a_file_that_is_gone_or_changed(mnist: Path, cifar10: Path) -> None:
    (mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match=r"MNIST is incomplete or damaged \(RuntimeError: Dataset not found"):
        read("mnist", mnist)
    batch = cifar10 / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"batches-py is incomplete or damaged \(RuntimeError: Dataset not found"):
        read("cifar10", cifar10)


def test_labels_that_name_no_class(mnist: Path, write_idx: WriteIdx) -> None:
    labels = np.arange(120) % 10
    labels[[7, 9]] = 11
    write_idx(mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte", labels)
    with pytest.raises(ValueError, match=r"^labels: got 11 for sample 7 \(2 of 150 samples are wrong\), allowed are 0"):
        read("mnist", mnist)


def test_as_many_labels_as_images(mnist: Path, write_idx: WriteIdx) -> None:
    write_idx(mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte", np.arange(119) % 10)
    with pytest.raises(ValueError, match=r"^labels: got 149, allowed are 150, one per sample"):
        read("mnist", mnist)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"^fashion-mnist: .*FashionMNIST is not there"):
        read("fashion-mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "data_set", "n"),
    [
        ("mnist", "MNIST", datasets.MNIST, 60_000),
        ("fashion-mnist", "FashionMNIST", datasets.FashionMNIST, 60_000),
        pytest.param("cifar10", "cifar-10-batches-py", datasets.CIFAR10, 50_000, marks=pytest.mark.slow),
    ],
)
def test_the_real_image_sets(name: str, folder: str, data_set: type, n: int, real_data: Callable[[str], Path]) -> None:
    root = real_data(folder)
    pool = read(name, root)
    assert (len(pool.train), len(pool.test)) == (n, 10_000)
    assert torch.bincount(pool.labels[pool.test], minlength=10).min() > 800
    for part, rows in ((True, pool.train), (False, pool.test)):
        expected = data_set(root, train=part)
        for row in (0, 77, len(rows) - 1):
            image, label = expected[row]
            assert torch.equal(pool.pixels[rows[row : row + 1]][0], v2.functional.pil_to_tensor(image))
            assert pool.labels[rows[row]] == label
    mean, std = pool.mean, pool.std
    pool.mean = ()
    known = pool.normalization(pool.train)
    assert known[0] == pytest.approx(mean, abs=1e-4)
    assert known[1] == pytest.approx(std, abs=1e-4)


@pytest.mark.slow
def test_the_real_cifar100(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    pool = read("cifar100", real_data("cifar100"), cache=tmp_path)
    assert (len(pool.train), len(pool.test), len(pool.classes)) == (50_000, 10_000, 100)
    assert torch.bincount(pool.labels[pool.test]).tolist() == [100] * 100
    mean, std = pool.mean, pool.std
    pool.mean = ()
    known = pool.normalization(pool.train)
    assert known[0] == pytest.approx(mean, abs=1e-4)
    assert known[1] == pytest.approx(std, abs=1e-4)
