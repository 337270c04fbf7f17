"""Who is adopted: a candidate that is better than its parent beyond the noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy import stats

from snn4.agent.evolution.objectives import Fitness, Preference, Samples, means, worth

CONFIDENCE = 0.95
"""Of each one-sided test."""


@dataclass(frozen=True)
class Gain:
    """The mean of paired differences, positive where the candidate is better, with a one-sided limit on either side."""

    mean: float
    least: float
    most: float

    @property
    def is_better(self) -> bool:
        """Whether the candidate is better beyond the noise."""
        return self.least > 0

    @property
    def is_worse(self) -> bool:
        """Whether the candidate is worse beyond the noise."""
        return self.most < 0


def gain(objective: str, candidate: Sequence[float], parent: Sequence[float]) -> Gain:
    """The gain of ``candidate`` over ``parent``, by Student's t of the pairs.

    >>> gain("return", [3.0, 4.0, 5.0], [1.0, 2.0, 3.0])
    Gain(mean=2.0, least=2.0, most=2.0)
    """
    sign = worth(objective, 1.0)
    differences = sign * (np.asarray(candidate, float) - np.asarray(parent, float))
    mean, n = float(differences.mean()), len(differences)
    error = float(differences.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0  # a cost over all of a data set
    reach = float(stats.t.ppf(CONFIDENCE, n - 1)) * error if error else 0.0
    return Gain(mean, mean - reach, mean + reach)


def adoptable(candidate: Fitness, parent: Fitness, preference: Preference) -> str | None:
    """Why ``candidate`` may replace ``parent``; None if it may not.

    In every task, its value must not be worse beyond the noise, nor its mean worse by more than the margin. And it must
    be better beyond the noise: in the preferred cost, or in value.
    """
    value, cheap = preference.value, preference.cheap
    gains = {task: gain(value, candidate[task][value], parent[task][value]) for task in parent}
    if any(found.is_worse or found.mean < -_margin(preference, parent[task]) for task, found in gains.items()):
        return None
    if _is_better(candidate, parent, preference):
        return f"{value} {_change(candidate, parent, value)}"
    if cheap is None:
        return None
    saved = [gain(cheap, candidate[task][cheap], parent[task][cheap]) for task in parent]
    if any(found.is_better for found in saved) and not any(found.is_worse for found in saved):
        return f"{cheap} {_change(candidate, parent, cheap)} at {value} {_change(candidate, parent, value)}"
    return None


def best(candidates: Mapping[int, Fitness], parent: Fitness, preference: Preference) -> int | None:
    """The number of the best candidate that may be adopted; None if there is none.

    Those whose value is better beyond the noise come first. All others are as good as their parent, and the cheapest
    one counts.
    """
    able = {number: fitness for number, fitness in candidates.items() if adoptable(fitness, parent, preference)}
    better = {number: fitness for number, fitness in able.items() if _is_better(fitness, parent, preference)}
    if not able:
        return None
    if better or preference.cheap is None:
        return ranked({number: means(fitness) for number, fitness in (better or able).items()}, preference)[0]
    return _by_cost(able, preference.cheap)[0]


def hopeful(candidates: Mapping[int, Fitness], parent: Fitness, preference: Preference, most: int) -> list[int]:
    """Numbers of up to ``most`` candidates that shall live on: by turns the best in value, and the cheapest of those
    that are not worse than their parent beyond the noise."""
    value = preference.value
    by_value = ranked({number: means(fitness) for number, fitness in candidates.items()}, Preference(value))
    if preference.cheap is None:
        return by_value[:most]
    even = {
        number: fitness
        for number, fitness in candidates.items()
        if not any(gain(value, fitness[task][value], parent[task][value]).is_worse for task in parent)
    }
    turns = itertools.zip_longest(by_value, _by_cost(even, preference.cheap))
    return list(dict.fromkeys(number for pair in turns for number in pair if number is not None))[:most]


def _by_cost(candidates: Mapping[int, Fitness], cheap: str) -> list[int]:
    costs = {number: -worth(cheap, means(fitness)[cheap]) for number, fitness in candidates.items()}
    return sorted(costs, key=lambda number: (costs[number], number))


def _is_better(candidate: Fitness, parent: Fitness, preference: Preference) -> bool:
    """Whether its value is better beyond the noise and the margin, in some task."""
    value = preference.value
    gains = {task: gain(value, candidate[task][value], parent[task][value]) for task in parent}
    return any(found.is_better and found.mean > _margin(preference, parent[task]) for task, found in gains.items())


def ranked(fitness: Mapping[int, Mapping[str, float]], preference: Preference) -> list[int]:
    """Numbers from the most to the least preferred: the cheapest first among those close to the best value, then the
    rest by value."""
    value, cheap = preference.value, preference.cheap
    by_value = sorted(fitness, key=lambda number: (-worth(value, fitness[number][value]), number))
    if cheap is None or not by_value:
        return by_value
    best = fitness[by_value[0]][value]
    least = worth(value, best) - preference.within * abs(best)
    close = [number for number in by_value if worth(value, fitness[number][value]) >= least]
    close.sort(key=lambda number: (-worth(cheap, fitness[number][cheap]), number))
    return [*close, *(number for number in by_value if number not in close)]


def _margin(preference: Preference, parent: Samples) -> float:
    return preference.within * abs(fmean(parent[preference.value]))


def _change(candidate: Fitness, parent: Fitness, objective: str) -> str:
    before, after = means(parent)[objective], means(candidate)[objective]
    return f"{before:.4g} -> {after:.4g}"
