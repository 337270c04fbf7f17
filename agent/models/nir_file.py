"""NIR files as sources of models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from snn4.agent.models.files import ModelError
from snn4.policies.networks.graph import GraphNet

SUFFIX = ".nir"


def is_nir(source: str) -> bool:
    """Whether ``source`` names a NIR file."""
    return Path(source).suffix == SUFFIX


def open_nir(source: str, T: int | None = None, image: tuple[int, int, int] | None = None) -> GraphNet:
    """The network of the NIR file ``source``; see `from_nir`.

    Raises:
        ModelError: nir is not installed, or the file has no such network.
    """
    try:
        from snn4.policies.export.from_nir import from_nir
        from snn4.policies.export.nir_neurons import NotImportable
    except ImportError as error:
        raise ModelError(f"{source}: {error}") from error
    try:
        return from_nir(Path(source).expanduser(), T=T, image=image)
    except NotImportable as error:
        message = str(error)
        raise ModelError(message if source in message else f"{source}: {message}") from error


def known_of(source: str) -> dict[str, Any]:
    """What the metadata of the NIR file ``source`` say: data, T, classes, mean, std, where they say it.

    Raises:
        ModelError: nir is not installed, or the file cannot be read.
    """
    try:
        from snn4.policies.export.nir_neurons import NotImportable
        from snn4.policies.export.nir_reading import read_nir
    except ImportError as error:
        raise ModelError(f"{source}: {error}") from error
    try:
        metadata = read_nir(Path(source).expanduser()).metadata
    except NotImportable as error:
        raise ModelError(str(error)) from error
    known = {key: metadata[key] for key in ("data", "environment") if key in metadata}
    known |= {key: tuple(np.asarray(metadata[key]).tolist()) for key in ("mean", "std") if key in metadata}
    known |= {"classes": tuple(json.loads(metadata["classes"]))} if "classes" in metadata else {}
    return known | ({"T": int(metadata["T"])} if "T" in metadata else {})
