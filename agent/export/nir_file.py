"""The target ``nir``: one file with the graph, and with what a program needs to know about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snn4.agent.export.source import ClassifierSource, Source
from snn4.agent.models.files import ModelError


def write_nir_file(source: Source, out: Path, options: Mapping[str, Any]) -> None:
    """Write the network of ``source`` into ``out``, completely or not at all.

    Raises:
        ModelError: a file that is none of NIR, or nir is not installed.
        NotExportable: NIR cannot express the network.
    """
    if out.suffix != ".nir":
        raise ModelError(f"-o: got {out}, allowed with --target nir is a file NAME.nir")
    try:
        from snn4.policies.export.nir import to_nir, write_nir
    except ImportError as error:
        raise ModelError(f"--target nir: {error}") from error
    soft_reset = options.get("allow_soft_reset", False)
    graph = to_nir(source.description, options.get("readout", False), soft_reset, about(source))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_nir(graph, out)


def about(source: Source) -> dict[str, Any]:
    """What the graph's metadata say besides the network itself."""
    if isinstance(source, ClassifierSource):
        return {"name": source.name, "data": source.data.name}
    known: dict[str, Any] = {"name": source.name, "environment": source.task.environment}
    if source.normalization is not None:  # (x - mean) / sqrt(var + 1e-8), clipped to ±10: as VecNormalize does
        seen = source.normalization["observation"]
        known |= {f"observation_{key}": np.asarray(seen[key]) for key in ("mean", "var")}
    return known
