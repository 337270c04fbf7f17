from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from snn4.policies.networks.state_dicts import load_state_dict, read_state_dict


def network(width: int = 3) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width, 2))


WEIGHTS = network().state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(x, b[name]) for name, x in a.items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".th"])
def test_tensors_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(WEIGHTS, path) if suffix == ".safetensors" else torch.save(WEIGHTS, path)
    assert same(read_state_dict(path), WEIGHTS)


def test_what_training_scripts_put_around_them(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    parallel = {f"module.{name}": x for name, x in WEIGHTS.items()}
    arguments = argparse.Namespace(epochs=3)
    for content in (
        {"state_dict": parallel, "best_prec1": 91.2, "optimizer": {"state": {}}, "args": arguments},
        {"model": WEIGHTS, "epoch": 3},
    ):  # fmt: skip
        torch.save(content, path)
        assert same(read_state_dict(path), WEIGHTS)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be read"), (b"\x93noise" * 9, "refused"), ({"a": torch.ones(1), "b": Trap()}, r"posix\.mkdir|nt\."),
     (network(), r"holds torch\.nn\.modules"), ([1, 2], "got no tensors by name"), ({"a": 1}, "got no tensors by name"),
     ({"a": torch.tensor([1.0, torch.nan])}, "a holds NaN or infinity"), (None, "no such file")],
)  # fmt: skip
def test_files_that_are_refused(tmp_path: Path, monkeypatch: Any, content: Any, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message) as caught:
        read_state_dict(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "allowed" in str(caught.value) or "cannot be read" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("sprung").exists()


def test_a_plain_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in (2, 4):
        Path("trap.th").write_bytes(pickle.dumps(Trap(), protocol))
        with pytest.raises(ValueError, match=r"^trap\.th: refused: it .*could run code"):
            read_state_dict(Path("trap.th"))
    assert not Path("sprung").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_was_cut_off(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(WEIGHTS, path) if suffix == ".safetensors" else torch.save(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be read"):
        read_state_dict(path)


def test_another_suffix(tmp_path: Path) -> None:
    (tmp_path / "weights.onnx").touch()
    with pytest.raises(ValueError, match=r"got \.onnx, allowed are \.safetensors, \.pt"):
        read_state_dict(tmp_path / "weights.onnx")


def test_counters_of_batches_may_be_missing() -> None:
    module = network(width=3)
    nn.init.zeros_(module[0].weight)  # type: ignore[arg-type]
    load_state_dict(module, {name: x for name, x in WEIGHTS.items() if "tracked" not in name}, "old")
    assert torch.equal(module[0].weight, WEIGHTS["0.weight"])  # type: ignore[arg-type]


def test_eight_differences_are_listed_and_nothing_is_loaded() -> None:
    other = nn.Sequential(*network(4), nn.Linear(2, 2))
    before = {name: x.clone() for name, x in other.state_dict().items()}
    with pytest.raises(ValueError, match=r"^file: 4\.weight is missing; 4\.bias") as caught:
        load_state_dict(other, {**WEIGHTS, "5.weight": torch.ones(1)}, "file")
    message = str(caught.value)
    assert "0.weight is (3, 1, 3, 3) in the file, (4, 1, 3, 3) in the network" in message
    assert (message.count("; "), message.endswith("; and 2 more")) == (8, True)
    assert same(other.state_dict(), before)
