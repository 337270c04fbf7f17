"""Numbers as text: returns, percents, units, durations, curves of block characters; the note below energies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

_PREFIXES = {4: "T", 3: "G", 2: "M", 1: "k", 0: "", -1: "m", -2: "µ", -3: "n", -4: "p", -5: "f"}


def figure(value: float) -> str:
    """A return with one decimal, or with three if it is a fraction, such as an accuracy."""
    return f"{value:.{_digits(value)}f}"


def spread(mean: float, std: float) -> str:
    """``mean ± std``, both with the decimals of the mean.

    >>> spread(8.7, 0.4714)
    '8.7 ± 0.5'
    """
    return f"{figure(mean)} ± {std:.{_digits(mean)}f}"


def _digits(value: float) -> int:
    return 3 if 0 < abs(value) < 1 else 1


def percent(value: float | None) -> str:
    """A fraction in percent; "-" for None."""
    return "-" if value is None else f"{100 * value:.2f}"


def prefixed(value: float | None) -> str:
    """Four digits and a unit prefix: 0.00000123 is "1.23 µ"; "-" for None."""
    if value is None:
        return "-"
    power = max(-5, min(4, math.floor(math.log10(abs(value)) / 3))) if value else 0
    return f"{value / 1000**power:.4g} {_PREFIXES[power]}" if power else f"{value:.4g}"


def amount(value: float) -> str:
    """A return or a cost, in few characters.

    >>> [amount(value) for value in (26104.9, 49.54, 0.25, 3.4e-09)]
    ['26,105', '49.5', '0.250', '3.4 n']
    """
    if 0 < abs(value) < 1e-3:
        return prefixed(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else figure(value)


def several(number: int, noun: str) -> str:
    """A number of things.

    >>> several(1, "candidate"), several(1000, "candidate")
    ('1 candidate', '1,000 candidates')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: ``0:02:05``."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def sparkline(values: list[float], width: int) -> str:
    """``values`` as at most ``width`` block characters between lowest and highest; each is the mean of its share.

    >>> sparkline([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8)
    '▁▂▃▄▅▆▇█'
    """
    width = min(width, len(values))
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (m - low) / (high - low)) if high > low else 3] for m in means)


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
