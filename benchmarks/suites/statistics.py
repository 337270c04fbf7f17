"""Statistics of reinforcement learning over few seeds, as rliable defines them (Agarwal et al., NeurIPS 2021).

A matrix of scores is (runs, tasks): a run is a seed, and a task may be a single environment. Further axes, such as the
test episodes of a run, belong to their run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

Scores = NDArray[np.float64]
REPETITIONS = 2_000
CONFIDENCE = 0.95


def interquartile_mean(scores: Scores, axis: int | None = None) -> Any:
    """The mean of the middle half of all ``scores`` (or along ``axis``): a quarter is cut at each end, rounded down."""
    flat = np.sort(scores.reshape(-1) if axis is None else np.moveaxis(scores, axis, -1), -1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(-1)


def bootstrap(
    scores: Scores, statistic: Callable[[Scores], Any], repetitions: int = REPETITIONS, seed: int = 0
) -> NDArray[np.float64]:
    """``statistic`` of ``repetitions`` resamples: runs are drawn with replacement within each task (stratified).

    Args:
        scores: (runs, tasks, …); a run is drawn with all of its further axes.
        statistic: of a matrix with the shape of ``scores``.
        repetitions: number of resamples.
        seed: of the draws.
    """
    runs, tasks = scores.shape[:2]
    random = np.random.default_rng(seed)
    drawn = (scores[random.integers(runs, size=(runs, tasks)), np.arange(tasks)] for _ in range(repetitions))
    return np.asarray([statistic(resample) for resample in drawn])


def interval(scores: Scores, statistic: Callable[[Scores], Any] = interquartile_mean) -> dict[str, Any]:
    """``value`` of ``statistic`` and the ends of its 95 % percentile interval; None for a single run."""
    low, high = None, None
    if len(scores) > 1:
        tail = 50 * (1 - CONFIDENCE)
        ends = np.percentile(bootstrap(scores, statistic), [tail, 100 - tail], axis=0)
        low, high = ends[0].tolist(), ends[1].tolist()
    return {"value": np.asarray(statistic(scores)).tolist(), "low": low, "high": high}


def performance_profile(scores: Scores, marks: Sequence[float]) -> NDArray[np.float64]:
    """The fraction of ``scores``, over all runs and tasks, above each of ``marks`` (the score distribution)."""
    return (scores.reshape(-1, 1) > np.asarray(marks)).mean(0)


def area_under_curve(steps: Sequence[float], returns: Sequence[float]) -> float:
    """The mean of ``returns`` over ``steps``, between which they change evenly; the only return of a single step."""
    if len(steps) == 1:
        return float(returns[0])
    return float(trapezoid(returns, steps) / (steps[-1] - steps[0]))


def steps_to(steps: Sequence[float], returns: Sequence[float], threshold: float) -> float | None:
    """The first of ``steps`` whose return is at least ``threshold``; None if there is none."""
    return next((step for step, value in zip(steps, returns, strict=True) if value >= threshold), None)
