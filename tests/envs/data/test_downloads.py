from __future__ import annotations

import gzip
import os
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import md5
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from torchvision.datasets import CIFAR10, MNIST

from snn4.envs.data.datasets import DataConfig, load_data
from snn4.envs.data.downloads import MissingData, data_root, require

PAGE = "https://example.org/things"


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a web server on this machine, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    with HTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/", folder
        http.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> str:
    """An address on this machine where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{bound.getsockname()[1]}/"


def inside(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_root_of_all_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SNN4_DATA", str(tmp_path))
    assert data_root(None) == tmp_path
    assert data_root("~/here") == Path.home() / "here"
    monkeypatch.chdir(tmp_path)
    assert data_root("here") == Path.cwd() / "here"
    monkeypatch.delenv("SNN4_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert data_root(None) == tmp_path / "snn4-agent" / "data"


def test_existing_data_are_not_fetched(tmp_path: Path) -> None:
    def fetch(place: Path) -> None:
        raise AssertionError(place)

    (tmp_path / "things").mkdir()
    require("things", tmp_path / "things", PAGE, fetch)
    require("things", tmp_path / "things", PAGE, None)


def test_fetched_data_arrive_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fetch(place: Path) -> None:
        print("Downloading")
        assert not (tmp_path / "new" / "things").exists()
        assert socket.getdefaulttimeout() == 60
        (place / "things").mkdir()
        (place / "things" / "one").write_text("1")
        (place / "archive.zip").write_text("no longer needed")

    require("things", tmp_path / "new" / "things", PAGE, fetch)
    assert inside(tmp_path) == ["new", "new/things", "new/things/one"]
    assert socket.getdefaulttimeout() is None
    assert capsys.readouterr() == ("", "Downloading\n")  # standard output may hold the JSON of a command


def test_a_download_that_fails_leaves_no_new_folder(tmp_path: Path) -> None:
    def fetch(place: Path) -> None:
        (place / "half").write_text("1")
        raise ConnectionError("gone")

    (tmp_path / "old").mkdir()
    for root in (tmp_path / "old", tmp_path / "new" / "er"):
        with pytest.raises(MissingData, match="gone"):
            require("things", root / "things", PAGE, fetch)
    assert inside(tmp_path) == ["old"]


def test_another_process_may_be_faster(tmp_path: Path) -> None:
    def fetch(place: Path) -> None:
        for folder in (place / "things", tmp_path / "things"):
            folder.mkdir()
            (folder / "one").write_text(folder.parent.name)

    require("things", tmp_path / "things", PAGE, fetch)
    assert inside(tmp_path) == ["things", "things/one"]


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("wrong sum"), EOFError("archive ended")])
def test_nothing_half_written_stays(tmp_path: Path, error: Exception) -> None:
    def fetch(place: Path) -> None:
        (place / "things").mkdir()
        (place / "things" / "half").write_text("1")
        raise error

    with pytest.raises(MissingData) as error_info:
        require("things", tmp_path / "things", PAGE, fetch)
    assert str(error_info.value) == (
        f"things: {tmp_path / 'things'} is not there, and downloading it failed ({type(error).__name__}: {error}). "
        "If the data is in another folder, set the environment variable SNN4_DATA or data.root; "
        f"otherwise get it from {PAGE}"
    )
    assert inside(tmp_path) == []


def test_nothing_stays_of_an_interrupted_download(tmp_path: Path) -> None:
    def fetch(place: Path) -> None:
        (place / "things").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        require("things", tmp_path / "things", PAGE, fetch)
    assert inside(tmp_path) == []


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingData, match=r"^things: .* is not there, and downloading it failed \((File|NotADir)"):
        require("things", tmp_path / "file" / "things", PAGE, lambda _: None)


def test_downloading_can_be_switched_off(tmp_path: Path) -> None:
    for name in ("mnist", "cifar100", "nmnist"):
        with pytest.raises(MissingData, match=rf"^{name}: .* is not there, and downloading is switched off"):
            load_data(DataConfig(name, root=str(tmp_path / "root"), download=False))
    assert inside(tmp_path) == []


def test_mnist_is_downloaded(
    mnist: Path, tmp_path: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = server
    sums = []
    for file in (mnist / "MNIST" / "raw").iterdir():
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        sums.append((f"{file.name}.gz", md5((folder / f"{file.name}.gz").read_bytes()).hexdigest()))
    monkeypatch.setattr(MNIST, "mirrors", [address])
    monkeypatch.setattr(MNIST, "resources", sums)
    downloaded = load_data(DataConfig("mnist", root=str(tmp_path / "other")))
    original = load_data(DataConfig("mnist", root=str(mnist), download=False))
    for part in ("train", "validation", "test"):
        (x, y), (a, b) = (next(getattr(data, part).batches(200)) for data in (downloaded, original))
        assert torch.equal(x, a)
        assert torch.equal(y, b)
    (folder / sums[0][0]).write_bytes(b"something else")
    with pytest.raises(MissingData, match="File not found or corrupted"):
        load_data(DataConfig("mnist", root=str(tmp_path / "third")))
    assert inside(tmp_path / "third") == []


def test_without_a_network_mnist_and_cifar(tmp_path: Path, nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "mirrors", [nobody, nobody])
    monkeypatch.setattr(CIFAR10, "url", f"{nobody}cifar-10-python.tar.gz")
    for name, folder in (("mnist", "MNIST"), ("cifar10", "cifar-10-batches-py")):
        with pytest.raises(MissingData) as error_info:
            load_data(DataConfig(name, root=str(tmp_path)))
        assert str(error_info.value).startswith(
            f"{name}: {tmp_path / folder} is not there, and downloading it failed ("
        )
        assert "refused" in str(error_info.value)
        assert "\n" not in str(error_info.value)
    assert inside(tmp_path) == []


@pytest.mark.parametrize(("name", "tonic_name"), [("nmnist", "NMNIST"), ("dvs128-gesture", "DVSGesture")])
def test_without_a_network_events(
    name: str, tonic_name: str, tmp_path: Path, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets: Callable[[str], None] = pytest.importorskip("tonic").datasets
    for part in ("train_url", "test_url"):
        monkeypatch.setattr(getattr(datasets, tonic_name), part, nobody)
    with pytest.raises(
        MissingData, match=rf"^{name}: .*{tonic_name} is not there, and downloading it failed .*refused"
    ):
        load_data(DataConfig(name, root=str(tmp_path)))
    assert inside(tmp_path) == []
