"""Films show what the neurons do, and are there completely or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from run_folders import only

from snn4.agent import runner
from snn4.agent.film.film import NoFilm, film
from snn4.agent.life import kind


@pytest.fixture(scope="module")
def folder(tiny: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    runner.begin(kind, tiny("world.0.steps=64"), runs, quiet=True)  # type: ignore[arg-type]
    return only(runs)


def test_a_film_has_a_frame_for_each_decision(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "life.gif"
    assert film(folder, path, decisions=12) == 12
    with Image.open(path) as pictures:
        assert pictures.n_frames == 12  # type: ignore[attr-defined]
        assert len(pictures.convert("RGB").getcolors()) > 3  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["life.gif"]
    again = tmp_path / "again.gif"
    film(folder, again, decisions=12)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_an_mp4(folder: Path, tmp_path: Path) -> None:
    film(folder, tmp_path / "life.mp4", decisions=5)
    assert (tmp_path / "life.mp4").stat().st_size > 1000


def test_what_cannot_be_filmed(folder: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoFilm, match=r"got \.avi, allowed are \.gif, \.mp4"):
        film(folder, tmp_path / "life.avi")
    with pytest.raises(NoFilm, match="got a training, allowed is a life"):
        film(trained, tmp_path / "life.gif")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoFilm, match="needs the program ffmpeg"):
        film(folder, tmp_path / "life.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("strange_worlds")
def test_an_environment_that_cannot_be_drawn(tiny: Callable[..., Any], tmp_path: Path) -> None:
    config = tiny("world.0.steps=64", "world.0.environment=strange_worlds:NotANumber-v0", "world.0.kwargs.after=900")
    runner.begin(kind, config, tmp_path / "runs", quiet=True)  # type: ignore[arg-type]
    with pytest.raises(NoFilm, match=r"NotANumber-v0 cannot be made .*; allowed are environments with render_mode"):
        film(only(tmp_path / "runs"), tmp_path / "life.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_an_ann_has_nothing_to_show(tiny: Callable[..., Any], tmp_path: Path) -> None:
    runner.begin(kind, tiny("world.0.steps=64", "policy.kind=ann"), tmp_path / "runs", quiet=True)  # type: ignore[arg-type]
    life = only(tmp_path / "runs")
    with pytest.raises(NoFilm, match=f"{life.name}: policy: got no spiking layer"):
        film(life, tmp_path / "life.gif")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder in which not even root can write")
def test_a_place_that_cannot_be_written(folder: Path) -> None:
    with pytest.raises(NoFilm, match=r"-o: cannot write /proc/life\.gif \(.*\); name another place"):
        film(folder, Path("/proc/life.gif"), decisions=2)
