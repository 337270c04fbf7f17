from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from snn4.agent.models import files as model
from snn4.agent.models.files import ModelError, find_model, load_model, read_about, save_model

ABOUT = {"data": "digits", "image_size": [8, 8], "top1_validation": 0.5}


def network(width: int = 3) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width, 2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, network().state_dict(), ABOUT)
    return path


def test_weights_and_what_is_known_of_them_are_read_again(path: Path) -> None:
    other = network()
    for value in other.state_dict().values():
        value.zero_()
    load_model(path, other.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    assert all(torch.equal(value, network().state_dict()[name]) for name, value in other.state_dict().items())
    assert read_about(path) == ABOUT
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_files_of_others_tell_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file(network().state_dict(), path, metadata)
        assert read_about(path) == {}
        load_model(path, network())


def test_differing_tensors_are_listed_and_nothing_is_loaded(path: Path) -> None:
    other = nn.Sequential(*network(4), nn.Linear(2, 2))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ModelError) as error:
        load_model(path, other)
    message = str(error.value)
    assert message.startswith(f"{path}: of another architecture")
    for part in ("4.weight is missing", "0.weight is (3, 1, 3, 3) in the file, (4, 1, 3, 3) in the network", "more"):
        assert part in message
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    with pytest.raises(ModelError, match=r"3\.weight is not in the network"):
        load_model(path, network()[:3])


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100, None])
def test_damaged_files(path: Path, content: bytes | None) -> None:
    path.write_bytes(path.read_bytes()[:-10] if content is None else content)
    for read in (read_about, lambda path: load_model(path, network())):
        with pytest.raises(ModelError, match="cannot be read"):
            read(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        read_about(tmp_path / "model.safetensors")


def test_a_full_disk_leaves_the_old_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(self: Path, data: bytes) -> Any:
        with self.open("wb") as file:
            file.write(data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_model(path, network(5).state_dict(), {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


# Where models are found


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert find_model(str(tmp_path)) == tmp_path


def test_models_that_are_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "ZOO", tmp_path)
    with pytest.raises(ModelError, match="zoo:x: no such model; shipped are none"):
        find_model("zoo:x")
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        save_model(tmp_path / name / "model.safetensors", {}, {})
    (tmp_path / "no model").mkdir()
    assert find_model("zoo:a") == tmp_path / "a"
    for wrong in ("zoo:c", "zoo:", "zoo:no model", "zoo:../a"):
        with pytest.raises(ModelError, match="shipped are zoo:a, zoo:b"):
            find_model(wrong)


def test_the_zoo_lies_beside_the_benchmarks() -> None:
    import snn4.benchmarks

    (folder,) = snn4.benchmarks.__path__
    assert model.ZOO.parent.samefile(folder)
