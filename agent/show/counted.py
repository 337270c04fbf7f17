"""What the energies of a table include: the note below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

COUNTED = (
    "Energies at 45 nm include the arithmetic of synapses, neuron updates and activation functions. They exclude "
    "exponentials (tanh is free), norms, pooling, residual sums, decoders, codes other than population and, except in "
    "45nm_fp32_memory and 45nm_int8_memory, memory."
)
"""The note below every table of energies."""
METERED_BEFORE = (
    "Some of these energies at 45 nm were metered by an earlier version, which excluded activation functions and "
    "neuron updates, except for one multiply-accumulate per update in 45nm_fp32_memory."
)
"""The note below a table that has rows for which `COUNTED` is not true."""


def counted(rows: Iterable[Mapping[str, Any]]) -> str:
    """The note below a table with the energies of ``rows``, the test rows of ``summary.json``."""
    return COUNTED if all("neuron_macs" in row for row in rows) else METERED_BEFORE
