"""What a deployed policy is made of: plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn4.policies.engine.plain import Code, Floats, Layer


class Memory(NamedTuple):
    """Leaky integrators of policies that carry their state: ``v = decay * v + gain * x``."""

    dendrites: Floats
    """(traces, 2): decay and gain of each trace of the observation."""
    factor: Floats
    """(): of the distance between observation and trace."""
    readout: Floats
    """(2,): decay and gain of the trace of the last layer's spikes."""


class Head(NamedTuple):
    """The linear layer behind the spikes, and what its values mean."""

    weight: Floats
    """(n_out, n)."""
    bias: Floats
    kind: Literal["discrete", "clipped", "squashed"]
    """The number of the largest value; values clipped to the bounds; or tanh of values, stretched to them."""
    low: NDArray[Any]
    """Of the actions' shape; empty with discrete."""
    high: NDArray[Any]


class Statistics(NamedTuple):
    """`VecNormalize`'s: ``(x - mean) / std``, clipped."""

    mean: NDArray[np.float64]
    """Of the observation's shape."""
    std: NDArray[np.float64]
    clip: NDArray[np.float64]
    """()."""


@dataclass(frozen=True)
class Network:
    """A whole policy: observation -> code -> layers over T steps -> decoder -> head -> action."""

    shape: tuple[int, ...]
    """Of an observation."""
    layers: tuple[Layer, ...]
    decoder: Floats
    """(T,): the weight of the last layer's spikes at each step."""
    code: Code
    head: Head
    statistics: Statistics | None = None
    memory: Memory | None = None
    """Of policies whose membranes live on from decision to decision of one step each."""
