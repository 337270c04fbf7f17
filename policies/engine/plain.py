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


class Code(NamedTuple):
    """The code of the observation: a name of `snn4.policies.coding.ENCODERS`, and what it needs."""

    kind: str
    options: dict[str, Any]
    """Numbers of the config: latency_threshold, delta_threshold, period."""
    first: Floats
    """(n,) low bounds; population: (n, fields) centres. Empty with direct."""
    second: Floats
    """(n,) high bounds; population: (n, fields) logarithmic widths. Empty with direct."""
