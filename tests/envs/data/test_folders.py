from __future__ import annotations

from pathlib import Path

import pytest

from snn4.envs.data.folders import files_below, folders_in, notes_on, some


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    """train/cat with two images and one in a folder, beside train/dog with one."""
    for name in ("train/cat/1.png", "train/cat/0.PNG", "train/cat/sub/2.png", "train/cat/notes.txt", "train/dog/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "train" / "cat"


def names(folder: Path, paths: list[Path]) -> list[str]:
    return [str(path.relative_to(folder)) for path in paths]


def test_files_are_sorted_by_folder_and_name(cat: Path) -> None:
    listing = files_below(cat, (".png",))
    assert names(cat, listing.found) == ["0.PNG", "1.png", "sub/2.png"]
    assert notes_on([listing]) == []


@pytest.mark.parametrize("place", [".", "sub"])
def test_hidden_files_and_folders_are_no_samples(cat: Path, place: str) -> None:
    for name in (".ipynb_checkpoints/0.png", ".Trash-1000/files/0.png", "._0.png", ".DS_Store"):
        (cat / place / name).parent.mkdir(parents=True, exist_ok=True)
        (cat / place / name).touch()
    listing = files_below(cat, (".png",))
    assert names(cat, listing.found) == ["0.PNG", "1.png", "sub/2.png"]
    assert names(cat / place, listing.hidden) == [".Trash-1000", "._0.png", ".ipynb_checkpoints"]


@pytest.mark.parametrize("target", ["train/cat", "train", ".", "train/cat/sub", "train/cat/link"])
def test_a_link_that_leads_back_is_not_followed(cat: Path, tmp_path: Path, target: str) -> None:
    (cat / "link").symlink_to(tmp_path / target)
    (cat / "sub" / "up").symlink_to(cat)
    listing = files_below(cat, (".png",))
    assert names(cat, listing.found) == ["0.PNG", "1.png", "sub/2.png"]
    linked = [] if target == "train/cat/link" else ["link"]  # a link to itself leads to no folder
    assert sorted(names(cat, listing.read_before)) == [*linked, "sub/up"]


def test_links_to_elsewhere_are_followed_once(cat: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "4.png").touch()
    for name in ("a", "b", "sub/c"):
        (cat / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    listing = files_below(cat, (".png",))
    assert names(cat, listing.found) == ["0.PNG", "1.png", "a/deep/4.png", "sub/2.png"]
    assert sorted(names(cat, listing.read_before)) == ["a/back", "b", "sub/c"]
    assert notes_on([listing]) == [f"left out: folders that are read anyway: {cat}/b, {cat}/sub/c, {cat}/a/back"]


def test_folders_of_classes(cat: Path, tmp_path: Path) -> None:
    (cat.parent / ".thumbnails").mkdir()
    (cat.parent / "again").symlink_to(cat.parent)
    (cat.parent / "linked").symlink_to(cat)
    listing = folders_in(cat.parent)
    assert names(cat.parent, listing.found) == ["cat", "dog", "linked"]
    assert names(cat.parent, listing.hidden) == [".thumbnails"]
    assert names(cat.parent, listing.read_before) == ["again"]
    (tmp_path / "other").symlink_to(cat)
    assert names(tmp_path, files_below(tmp_path / "other", (".png",)).found) == [
        "other/0.PNG", "other/1.png", "other/sub/2.png",
    ]  # fmt: skip


def test_some_of_many() -> None:
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some(map(str, range(5))) == "0, 1, 2, … (5 in all)"
