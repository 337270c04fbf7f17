"""How what an environment or a data set gives becomes what the network sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from snn4.agent.export.source import PolicySource, Source
from snn4.policies.export.normalization import Normalization

EPSILON, LIMIT = 1e-8, 10.0
"""With which `VecNormalize` divides and clips observations."""


def input_normalization(source: Source) -> Normalization | None:
    """Of observations (`VecNormalize`) or of images in 0 to 1; None where inputs do not change."""
    if not isinstance(source, PolicySource):
        if source.description.mean is None:
            return None
        mean, std = (np.array(x).reshape(-1, 1, 1) for x in (source.description.mean, source.description.std))
        return Normalization(mean, std)
    return of_observations(source.normalization)


def of_observations(kept: Mapping[str, Any] | None) -> Normalization | None:
    """Of the statistics that a run has ``kept``; None where observations do not change."""
    if kept is None:
        return None
    statistics = kept["observation"]
    return Normalization(statistics["mean"].ravel(), np.sqrt(statistics["var"].ravel() + EPSILON), LIMIT)
