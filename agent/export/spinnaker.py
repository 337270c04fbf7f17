"""The target ``spinnaker``: a folder with a PyNN script, its network, and examples of what it decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from snn4.agent.export.examples import Floats, examples
from snn4.agent.export.source import PolicySource, Source
from snn4.policies.export.pynn import Examples, Normalization, write_pynn

EXAMPLES = 10
"""Decisions in a bundle."""
EPSILON, LIMIT = 1e-8, 10.0
"""With which VecNormalize divides and clips observations."""


def write_spinnaker(source: Source, folder: Path) -> None:
    """Write the bundle of ``source`` into ``folder``; see `write_pynn`."""
    given, seen = examples(source, EXAMPLES)
    write_pynn(folder, source.name, source.description, _normalization(source), Examples(given, _scores(source, seen)))


def _scores(source: Source, seen: Floats) -> Floats:
    """Scores (N, n) of the network in float."""
    x = torch.from_numpy(seen)
    with torch.no_grad():
        if not isinstance(source, PolicySource):
            return source.network(x).numpy()  # type: ignore[no-any-return]
        _, body, head, _ = source.policy.acting_layers()  # type: ignore[operator]
        return head(body(x)).numpy()  # type: ignore[no-any-return]


def _normalization(source: Source) -> Normalization | None:
    if not isinstance(source, PolicySource):
        mean, std = source.description.mean, source.description.std
        return None if mean is None else Normalization(*(np.array(x).reshape(-1, 1, 1) for x in (mean, std)))
    if source.normalization is None:
        return None
    statistics = source.normalization["observation"]
    return Normalization(statistics["mean"].ravel(), np.sqrt(statistics["var"].ravel() + EPSILON), LIMIT)
