from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from snn4.envs.data import image_folder
from snn4.envs.data.bit_depth import in_bits
from snn4.envs.data.datasets import DataConfig, load_data
from snn4.envs.data.downloads import MissingData
from snn4.envs.data.image_folder import EXTENSIONS, ImageFiles, decode, in_grey, read_folder
from snn4.envs.data.pool import Pool
from snn4.envs.data.reading import OnError


def read(folder: Path, size: int = 12, on_error: OnError = "stop") -> Pool:
    return read_folder("mine", folder, size, folder.parent / "cache", on_error)


def all_of(pool: Pool) -> Tensor:
    return pool.pixels[torch.arange(len(pool.pixels))]


def is_torchvisions(pool: Pool, rows: Tensor, folder: Path) -> bool:
    expected = ImageFolder(str(folder))
    return (
        pool.classes == expected.classes
        and pool.labels[rows].tolist() == expected.targets
        and all(
            torch.equal(pool.pixels[row : row + 1][0], v2.functional.pil_to_tensor(image))
            for row, (image, _) in zip(rows.tolist(), expected, strict=True)
        )
    )


def test_a_pool_is_what_torchvision_reads(pictures: Path) -> None:
    eel = pictures / "train" / "eel"
    (eel / "deep" / "er").mkdir(parents=True)
    (eel / "1.png").rename(eel / "deep" / "er" / "1.PNG")
    (eel / "2.png").rename(eel / "deep" / "a.png")
    (eel / "notes.txt").write_text("no image")
    (pictures / "elsewhere").mkdir()
    (eel / "3.png").rename(pictures / "elsewhere" / "3.png")
    (eel / "linked").symlink_to(pictures / "elsewhere")
    pool = read(pictures)
    assert is_torchvisions(pool, pool.train, pictures / "train")
    assert is_torchvisions(pool, pool.test, pictures / "test")
    assert (len(pool.train), len(pool.test), pool.validation) == (18, 6, None)
    assert pool.notes == []


def test_endings_are_torchvisions() -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert EXTENSIONS == IMG_EXTENSIONS


def test_hidden_files_and_folders_and_links_back_are_left_out_with_a_note(pictures: Path) -> None:
    train, plain = pictures / "train", read(pictures)
    shutil.copytree(train / "cat", train / "cat" / ".ipynb_checkpoints")
    shutil.copytree(train / "cat", train / ".thumbnails")
    (train / "cat" / "._0.png").write_bytes(b"\0\5\x16\7")
    (train / "dog" / "again").symlink_to(train / "dog")
    (train / "all").symlink_to(train)
    pool = read(pictures)
    assert (pool.classes, len(pool.train)) == (["cat", "dog", "eel"], 18)
    assert torch.equal(all_of(pool), all_of(plain))
    hidden, links = pool.notes
    assert hidden == f"left out: hidden: {train}/.thumbnails, {train}/cat/._0.png, {train}/cat/.ipynb_checkpoints"
    assert links == f"left out: folders that are read anyway: {train}/all, {train}/dog/again"


def test_three_parts(pictures: Path) -> None:
    shutil.copytree(pictures / "test", pictures / "val")
    (pictures / "val" / "cat" / "1.png").unlink()
    pool = read(pictures)
    assert pool.validation is not None
    for rows, part in ((pool.train, "train"), (pool.validation, "val"), (pool.test, "test")):
        assert is_torchvisions(pool, rows, pictures / part)
    assert sorted(torch.cat([pool.train, pool.validation, pool.test]).tolist()) == list(range(18 + 5 + 6))


def test_val_tests_where_there_is_no_test(pictures: Path) -> None:
    (pictures / "test").rename(pictures / "val")
    pool = read(pictures)
    assert pool.validation is None
    assert is_torchvisions(pool, pool.test, pictures / "val")


@pytest.mark.parametrize("shape", [(24, 24), (24, 36), (60, 24), (8, 6)])
def test_the_square_in_the_middle_is_scaled(shape: tuple[int, int], tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8))
    image.save(tmp_path / "x.png")
    expected = v2.Compose([v2.Resize(12, antialias=True), v2.CenterCrop(12), v2.PILToTensor()])(image)
    assert torch.equal(decode(tmp_path / "x.png", 12), expected)


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("RGB", "png"), ("L", "png"), ("1", "png"), ("P", "png"), ("RGBA", "png"), ("LA", "png"), ("CMYK", "jpg"),
     ("L", "jpeg"), ("L", "pgm"), ("RGB", "bmp"), ("RGB", "tif"), ("RGB", "webp")],
)  # fmt: skip
def test_any_kind_of_image_becomes_rgb(mode: str, ending: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(tmp_path / f"x.{ending}")
    with Image.open(tmp_path / f"x.{ending}") as stored:
        expected = v2.functional.pil_to_tensor(stored.convert("RGB"))
    assert torch.equal(decode(tmp_path / f"x.{ending}", 12), expected)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    deep = np.arange(144, dtype=np.uint16).reshape(12, 12) * 455
    Image.fromarray(deep).save(tmp_path / "x.png")
    (tmp_path / "x.pgm").write_bytes(b"P5 12 12 65535\n" + deep.astype(">u2").tobytes())
    for name in ("x.png", "x.pgm"):
        assert torch.equal(decode(tmp_path / name, 12), torch.from_numpy(deep // 256).byte().expand(3, 12, 12))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_of_any_range_are_refused(dtype: type, tmp_path: Path) -> None:
    Image.fromarray(np.ones((12, 12), dtype)).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=r"^got values of 32 bits \(Pillow's mode [IF]\), allowed are 8 or 16"):
        decode(tmp_path / "x.tif", 12)


def damage(pictures: Path) -> list[Path]:
    """A truncated picture, a text under a picture's name, and a link that leads nowhere."""
    train = pictures / "train"
    cut = train / "cat" / "3.png"
    text = train / "dog" / "0.png"
    lost = train / "eel" / "5.png"
    cut.write_bytes(cut.read_bytes()[:200])
    text.write_text("not found")
    lost.unlink()
    lost.symlink_to(pictures / "nowhere.png")
    return [cut, text, lost]


def test_damaged_images_are_named_and_counted(pictures: Path) -> None:
    whole = read(pictures)
    cut, text, lost = damage(pictures)
    with pytest.raises(ValueError, match=r"^3 of 24 files cannot be read: ") as error_info:
        read(pictures)
    for file, reason in ((cut, "truncated"), (text, "cannot identify image"), (lost, "FileNotFoundError")):
        assert str(file) in str(error_info.value)
        assert reason in str(error_info.value)
    assert str(error_info.value).endswith("; data.on_error=skip leaves them out")
    for _ in ("read", "cached"):
        pool = read(pictures, on_error="skip")
        rows = [row for row in range(24) if row not in (3, 6, 17)]
        assert torch.equal(all_of(pool), all_of(whole)[rows])
        assert torch.equal(pool.labels, whole.labels[rows])
        assert (len(pool.train), len(pool.test)) == (15, 6)
        assert len(pool.notes) == 1
        assert pool.notes[0].startswith("left out: 3 of 24 files cannot be read: ")
        with pytest.raises(ValueError, match=r"^3 of 24 files cannot be read: "):
            read(pictures)


def test_nothing_but_damaged_images(pictures: Path) -> None:
    for file in pictures.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"^24 of 24 files cannot be read: .*, …$"):
        read(pictures, on_error="skip")


def test_a_class_with_nothing_but_damaged_images(pictures: Path) -> None:
    for file in (pictures / "train" / "dog").iterdir():
        file.write_bytes(b"")
    message = rf"^classes: got no sample of dog in train, .*; left out: 6 of 24 .*: {pictures}/train/dog/0.png \(.*, …$"
    with pytest.raises(ValueError, match=message):
        read(pictures, on_error="skip")


def test_an_empty_class_folder(pictures: Path) -> None:
    shutil.rmtree(pictures / "train" / "dog")
    (pictures / "train" / "dog").mkdir()
    with pytest.raises(ValueError, match=rf"^classes: got no image \(.jpg .*\) in {pictures}/train/dog, allowed is"):
        read(pictures)
    shutil.copytree(pictures / "train" / "cat", pictures / "train" / "dog" / ".hidden")
    with pytest.raises(ValueError, match=rf"one or more per class; left out: hidden: {pictures}/train/dog/.hidden$"):
        read(pictures)


def test_classes_that_one_part_lacks(pictures: Path) -> None:
    shutil.rmtree(pictures / "test" / "dog")
    with pytest.raises(ValueError, match=rf"^classes: got no folder {pictures}/test/dog, allowed are the same folders"):
        read(pictures)
    for number in range(5):
        (pictures / "test" / f"fish {number}").mkdir()
    with pytest.raises(ValueError, match=r"fish 0, .*fish 1, .*fish 2, … \(6 in all\), allowed are the same folders"):
        read(pictures)


def test_no_class_at_all(tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
    with pytest.raises(ValueError, match=rf"^classes: got no folder in {tmp_path}/train, allowed is one per class"):
        read(tmp_path)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_folder_that_is_not_there(part: str, pictures: Path) -> None:
    shutil.rmtree(pictures / part)
    with pytest.raises(MissingData, match=rf"^mine: {pictures} has no train/<class>.*set data.folder "):
        read(pictures)
    assert not (pictures.parent / "cache").exists()


def test_a_change_is_seen(pictures: Path) -> None:
    old = all_of(read(pictures))
    assert torch.equal(all_of(read(pictures)), old)
    assert all_of(read(pictures, 6)).shape == (24, 3, 6, 6)
    file = pictures / "train" / "cat" / "0.png"
    Image.new("RGB", (12, 12), "red").save(file)
    new = all_of(read(pictures))
    assert new[0, :, 0, 0].tolist() == [255, 0, 0]
    assert torch.equal(new[1:], old[1:])
    shutil.copy(file, pictures / "train" / "cat" / "9.png")
    assert len(read(pictures).train) == 19
    (pictures / "train" / "cat" / "9.png").unlink()
    assert len(read(pictures).train) == 18


def test_images_that_do_not_fit_in_memory_are_decoded_at_use(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut, *_ = damage(pictures)
    in_memory = read(pictures, on_error="skip")
    monkeypatch.setattr(image_folder, "MEMORY", 24 * 3 * 12 * 12 - 1)
    for _ in ("read", "cached"):
        pool = read(pictures, on_error="skip")
        assert isinstance(pool.pixels, ImageFiles)
        assert torch.equal(all_of(pool), all_of(in_memory))
        assert torch.equal(pool.labels, in_memory.labels)
        mean, std = pool.normalization(pool.train)
        assert (mean, std) == tuple(map(pytest.approx, in_memory.normalization(in_memory.train)))
        assert str(cut) in pool.notes[0]
    assert len(list((pictures.parent / "cache").iterdir())) == 2
    monkeypatch.setattr(image_folder, "MEMORY", 24 * 3 * 12 * 12)
    assert isinstance(read(pictures, on_error="skip").pixels, Tensor)


@pytest.mark.parametrize("bits", [8, 1])
def test_in_grey_an_image_is_as_pillow_converts_it(pictures: Path, bits: int) -> None:
    dog = pictures / "test" / "dog" / "1.png"
    with Image.open(dog) as image:
        image.convert("L").save(dog)
    config = DataConfig("imagefolder", folder=str(pictures), root=str(pictures.parent), image_size=12, validation=0.5)
    data = in_grey(load_data(config), (0.0,), (1.0,), bits)
    assert (data.in_channels, data.mean, data.std) == (1, (0.0,), (1.0,))
    x, labels = next(data.test.batches(6))
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    for grey, file in zip(x, sorted((pictures / "test").rglob("*.png")), strict=True):
        with Image.open(file) as image:
            expected = v2.functional.pil_to_tensor(image.convert("L"))
        assert torch.equal((255 * grey).round().byte(), in_bits(expected, bits, counts=False))
    parts = [next(part.batches(18)) for part in (data.train, data.validation)]
    assert sorted(torch.cat([labels for _, labels in parts]).tolist()) == [0] * 6 + [1] * 6 + [2] * 6
    assert len(torch.cat([x for x, _ in parts]).unique(dim=0)) == len(data.train) + len(data.validation) == 18


def test_real_photographs(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """The first 10 classes of Tiny-ImageNet: 64 x 64, some of them grey."""
    folder = tmp_path / "few"
    for part, n in (("train", 20), ("val", 5)):
        for class_ in (real_data("tiny-imagenet-10") / "tiny-imagenet-10" / part).iterdir():
            (folder / part / class_.name).mkdir(parents=True)
            for file in sorted(class_.rglob("*.JPEG"))[:n]:
                (folder / part / class_.name / file.name).symlink_to(file)
    pool = read(folder, 64)
    assert (len(pool.train), len(pool.test)) == (200, 50)
    assert is_torchvisions(pool, pool.train, folder / "train")
    assert is_torchvisions(pool, pool.test, folder / "val")
