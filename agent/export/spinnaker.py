"""The target ``spinnaker``: a folder with a PyNN script, its network, and examples of what it decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from snn4.agent.export.integers import calibration
from snn4.agent.export.normalizing import input_normalization
from snn4.agent.export.source import PolicySource, Source
from snn4.agent.run.provenance import commit, installed_version
from snn4.policies.export.bundle import write_bundle
from snn4.policies.export.description import Floats
from snn4.policies.export.pynn import Examples, pynn_files

EXAMPLES = 10
"""Decisions in a bundle."""


def write_spinnaker(source: Source, run: str, out: Path) -> None:
    """Write the bundle of ``source`` into the new folder ``out``, completely or not at all.

    Args:
        run: where it comes from, as it was typed.

    Raises:
        NotExportable: the message names what PyNN's neurons cannot do.
    """
    normalization = input_normalization(source)
    seen = calibration(source)[:EXAMPLES]
    given = seen if normalization is None else seen * normalization.std + normalization.mean
    examples = Examples(given.astype(np.float32), float_scores(source, seen))
    files = pynn_files(source.name, source.description, normalization, examples)
    about = {"target": "spinnaker", "name": source.name, "run": run, "version": installed_version("snn4-agent")}
    write_bundle(out, files, {**about, **commit()})


def float_scores(source: Source, seen: Floats) -> Floats:
    """Scores (N, n) of the network in float."""
    x = torch.from_numpy(seen)
    with torch.no_grad():
        if not isinstance(source, PolicySource):
            return source.network(x).numpy()  # type: ignore[no-any-return]
        _, body, head, _ = source.policy.acting_layers()  # type: ignore[operator]
        return head(body(x)).numpy()  # type: ignore[no-any-return]
