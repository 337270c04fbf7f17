"""Timing on a shared machine: contenders take turns, and ratios are computed within each round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Times = dict[str, list[float]]
"""Seconds per round, for each contender."""


def take_turns(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, repeat: int = 1, warm_up: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:  # fmt: skip
    """Seconds per call of each contender in each round: the mean of ``repeat`` calls, after ``warm_up`` calls.

    With `time.process_time` as ``clock``, other programs on the machine do not count.
    """
    times: Times = {name: [] for name in contenders}
    for run in contenders.values():
        for _ in range(warm_up):
            run()
    for _ in range(rounds):
        for name, run in contenders.items():
            started = clock()
            for _ in range(repeat):
                run()
            times[name].append((clock() - started) / repeat)
    return times


def ratio(times: Times, one: str, other: str) -> dict[str, float]:
    """The time of ``other`` divided by the time of ``one``: median and middle half of the rounds."""
    quotients = np.asarray(times[other]) / np.asarray(times[one])
    low, median, high = np.percentile(quotients, [25, 50, 75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def fastest(times: Times, names: list[str]) -> str:
    """The contender among ``names`` with the smallest median."""
    return min(names, key=lambda name: float(np.median(times[name])))
