"""Plain arrays of synapses, neurons and codes: what compiled code and NumPy need to act."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Layer(NamedTuple):
    """Synapses and the neurons behind them, in the format of the kernels (`snn4.policies.engine._event_kernels`)."""

    weights: Floats
    """(n_in, n)."""
    bias: Floats
    """(n,)."""
    decay: Floats
    """(membranes, n), like gain and leak: ``u = decay * v + (gain * I + leak)``."""
    gain: Floats
    leak: Floats
    constants: Floats
    """(6,): syn_decay, syn_gain, v_threshold, v_reset, adaptation, adapt_decay."""
    flags: NDArray[np.int64]
    """(4,): membranes; whether there is a synapse, an adaptation, a hard reset."""
    rest: Floats
    """(): the membranes at rest."""

    @property
    def rows(self) -> int:
        """Rows of its state: membranes, synapse, adaptation."""
        return int(self.flags[:3].sum())


SPARSE = 0.9
"""Fraction of zeros from which the present synapses of a layer are faster than whole rows of weights, of which
processors add 8 or 16 at a time. Measured on rows of 64 to 1024 weights, compiled for AVX2 and for AVX-512."""


class Present(NamedTuple):
    """The synapses with a weight of a layer with many zeros (compressed sparse rows); empty for other layers.

    Those of presynaptic neuron j are numbers ``starts[j]`` to ``starts[j + 1]``. Places are unsigned, so that compiled
    code need not look for negative ones, which count from the end.
    """

    starts: NDArray[np.uint64]
    """(n_in + 1,)."""
    targets: NDArray[np.uint64]
    values: Floats

    @classmethod
    def of(cls, weights: Floats) -> Present:
        """Those of ``weights`` (n_in, n)."""
        is_there = weights != 0
        counts = np.count_nonzero(is_there, axis=1)
        if counts.sum() > (1 - SPARSE) * weights.size:
            return cls(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.float32))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
        return cls(starts, np.nonzero(is_there)[1].astype(np.uint64), weights[is_there])


class Code(NamedTuple):
    """The code of the observation: a name of `snn4.policies.coding.ENCODERS`, and what it needs."""

    kind: str
    options: dict[str, Any]
    """Numbers of the config: latency_threshold, delta_threshold, period."""
    first: Floats
    """(n,) low bounds; population: (n, fields) centres. Empty with direct."""
    second: Floats
    """(n,) high bounds; population: (n, fields) logarithmic widths. Empty with direct."""
