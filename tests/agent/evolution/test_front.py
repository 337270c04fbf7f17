from __future__ import annotations

import itertools

import numpy as np
import pytest

from snn4.agent.evolution.front import Point, front, hypervolume

SIDE = 12
"""Points have whole values and costs below it, so that areas can be counted cell by cell."""


def drawn(seed: int, number: int) -> list[Point]:
    """Points, some of which are equal, or share a value or a cost."""
    random = np.random.default_rng(seed)
    return [(float(value), float(cost)) for value, cost in random.integers(0, SIDE, (number, 2))]


def beats(one: Point, other: Point) -> bool:
    return one != other and one[0] >= other[0] and one[1] <= other[1]


@pytest.mark.parametrize("number", [0, 1, 2, 7, 40])
def test_no_point_of_the_front_is_beaten_and_every_other_one_is(number: int) -> None:
    for seed in range(20):
        points = drawn(seed, number)
        wanted = {point for point in points if not any(beats(other, point) for other in points)}
        found = front(points)
        assert set(found) == wanted
        assert len(found) == len(wanted)
        assert found == sorted(found, key=lambda point: point[1])


@pytest.mark.parametrize("reference", [(0.0, float(SIDE)), (3.0, 8.0), (-2.0, 20.0), (11.0, 0.0)])
def test_the_hypervolume_is_the_number_of_cells_that_a_point_dominates(reference: Point) -> None:
    least, dearest = int(reference[0]), int(reference[1])
    for seed in range(20):
        points = drawn(seed, seed)
        cells = itertools.product(range(least, SIDE + 1), range(dearest))
        counted = sum(
            any(value >= low + 1 and cost <= left for value, cost in points)  # the cell's corners
            for low, left in cells
        )
        assert hypervolume(points, reference) == counted


def test_what_is_not_a_number_beats_nothing() -> None:
    nan = float("nan")
    points = [(nan, 1.0), (2.0, 1.0), (9.0, nan)]
    assert front(points) == [(2.0, 1.0)]
    assert hypervolume(points, (0.0, 3.0)) == 4.0
