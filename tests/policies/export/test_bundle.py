"""A bundle is read as it was written, or refused with the name of the file that differs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from snn4.policies.export.bundle import MANIFEST, BundleError, read_bundle, write_bundle

FILES = {"network.npz": b"arrays", "run.py": b"print(1)\n"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "out", FILES, {"target": "lava", "T": 4})
    return tmp_path / "out"


def test_a_bundle_holds_its_files_and_says_what_it_is(bundle: Path) -> None:
    manifest = read_bundle(bundle)
    assert (manifest["target"], manifest["T"]) == ("lava", 4)
    assert {name: (bundle / name).read_bytes() for name in manifest["files"]} == FILES
    assert [path.name for path in bundle.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("name", FILES)
def test_an_altered_or_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"other")
    with pytest.raises(BundleError, match=f"{re.escape(name)}: was altered"):
        read_bundle(bundle)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{re.escape(name)}: is missing"):
        read_bundle(bundle)


def test_an_altered_manifest_is_refused(bundle: Path) -> None:
    path = bundle / MANIFEST
    manifest = json.loads(path.read_text())
    for changed, message in (
        ({**manifest, "T": 5}, "was altered"),
        ({**manifest, "format": 0}, "got format 0, allowed is 1"),
        ({}, "is no manifest"),
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(BundleError, match=message):
            read_bundle(bundle)
    path.unlink()
    with pytest.raises(BundleError, match="has no manifest"):
        read_bundle(bundle)


def test_nothing_is_left_of_a_bundle_that_could_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_bundle(tmp_path / "out", FILES, {"T": float("nan")})
    assert not list(tmp_path.iterdir())
