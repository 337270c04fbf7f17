"""What happens to an input before the network sees it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Normalization(NamedTuple):
    """(x - mean) / std, then clipped to +-clip."""

    mean: NDArray[np.float64]
    """Of a shape that broadcasts to an input."""
    std: NDArray[np.float64]
    clip: float | None = None
