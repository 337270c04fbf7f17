"""Bundles: folders with everything that a chip's tools need, and a manifest that lists them with their checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
"""Version of the layout of bundles; a reader refuses others."""
MANIFEST = "manifest.json"


class BundleError(ValueError):
    """A folder is no bundle, or a bundle is not what was written."""

    exit_status = 2


def write_bundle(folder: Path, files: Mapping[str, bytes], about: Mapping[str, Any]) -> None:
    """Write ``files`` by name and the manifest, completely or not at all.

    Args:
        folder: a new place.
        about: plain data for the manifest, beside its keys ``format`` and ``files``.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    partial.mkdir(parents=True)
    try:
        for name, content in files.items():
            (partial / name).write_bytes(content)
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        manifest = {"format": FORMAT, **about, "files": checksums}
        text = json.dumps({**manifest, "sha256": _checksum(manifest)}, indent=1) + "\n"
        (partial / MANIFEST).write_text(text, encoding="utf-8")
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def read_bundle(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle whose files are as they were written.

    Raises:
        BundleError: there is no manifest, it is of another version, or a file is missing or altered; the message names
            the file.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: has no {MANIFEST}; allowed is a folder that snn4-agent export wrote")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version, files, checksum = manifest["format"], dict(manifest["files"]), manifest.pop("sha256")
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: is no manifest ({error}); export the run again") from error
    if version != FORMAT:
        raise BundleError(f"{path}: got format {version}, allowed is {FORMAT}; export the run again")
    if _checksum(manifest) != checksum:
        raise BundleError(f"{path}: was altered after the export; export the run again")
    for name, expected in files.items():
        _check(folder / name, expected)
    return manifest  # type: ignore[no-any-return]


def _checksum(manifest: Mapping[str, Any]) -> str:
    """Of all other entries of a manifest."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _check(path: Path, checksum: str) -> None:
    if not path.is_file():
        raise BundleError(f"{path}: is missing; export the run again")
    if hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
        raise BundleError(f"{path}: was altered after the export; export the run again")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file by name; nothing is unpickled."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
