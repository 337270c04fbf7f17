"""Pareto fronts of points (value, cost): more value is better, and less cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

Point = tuple[float, float]
"""Value and cost, for instance the return, and the synaptic operations of a decision."""


def front(points: Iterable[Point]) -> list[Point]:
    """The points that no other one beats, each once, from the cheapest to the dearest; points that are not numbers are
    left out.

    >>> front([(1.0, 1.0), (3.0, 2.0), (2.0, 2.5), (4.0, 9.0)])
    [(1.0, 1.0), (3.0, 2.0), (4.0, 9.0)]
    """
    found: list[Point] = []
    numbers = (point for point in points if not math.isnan(point[0]) and not math.isnan(point[1]))
    for value, cost in sorted(numbers, key=lambda point: (point[1], -point[0])):
        if not found or value > found[-1][0]:
            found.append((value, cost))
    return found


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """The area between ``points`` and ``reference``: all (value, cost) that beat it, and that a point equals or beats.

    It grows with every point that moves the front. Fronts with the same reference can be compared.

    Args:
        points: those that are not better than the reference in both count nothing.
        reference: the least value and the highest cost that count.

    >>> hypervolume([(1.0, 1.0), (3.0, 2.0)], reference=(0.0, 4.0))
    7.0
    """
    least, dearest = reference
    found = front(point for point in points if point[0] > least and point[1] < dearest)
    costs = [*(cost for _, cost in found), dearest]
    widths = (after - before for before, after in itertools.pairwise(costs))
    return sum(((value - least) * width for (value, _), width in zip(found, widths, strict=True)), 0.0)
