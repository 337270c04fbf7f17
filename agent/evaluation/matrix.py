"""What a stream of experiences left behind: measures of a matrix of accuracies, or of any score where more is better.

A matrix has a row for each moment, a column for each experience: row 0 is before anything was learned, row k after k
experiences. What was not tested is None or NaN, and is left out of every mean. ``order`` tells the column of the
experience that was learned before each of the rows 1, 2, …; None means one after the other. An experience that comes
back (an environment that is lived in twice) has one column and stands in ``order`` as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.agent.run.events import Evaluated

Matrix = NDArray[np.float64]
Order = Sequence[int] | None


def as_matrix(rows: Sequence[Sequence[float | None]]) -> Matrix:
    """Rows (moments, experiences) as an array, NaN for None.

    Raises:
        ValueError: there is no row, or they differ in length.
    """
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1 or not lengths[0]:
        raise ValueError(
            f"rows: got {len(rows)} with {lengths} values, allowed are one or more, all as long, not empty"
        )
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float64)


def averages(matrix: Matrix, order: Order = None, weights: Sequence[float] | None = None) -> list[float]:
    """Average accuracy after each experience, over those learned by then: for rows 1, 2, … of ``matrix``.

    Args:
        weights: of each column; test samples make this the accuracy over all of them together; None is equal ones.
    """
    learned = _learned(matrix, order)
    shares = np.ones(matrix.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != matrix.shape[1:]:
        raise ValueError(f"weights: got {shares.size}, allowed are {matrix.shape[1]}, one a column")
    return [_mean(matrix[row], sorted(set(learned[:row])), shares) for row in range(1, len(matrix))]


def average_accuracy(matrix: Matrix, order: Order = None, weights: Sequence[float] | None = None) -> float:
    """The last of `averages`; NaN if nothing was learned yet."""
    return (averages(matrix, order, weights) or [np.nan])[-1]


def average_incremental_accuracy(matrix: Matrix, order: Order = None, weights: Sequence[float] | None = None) -> float:
    """The mean of `averages` (Rebuffi et al. 2017)."""
    return _mean(np.array(averages(matrix, order, weights)))


def forgetting(matrix: Matrix, order: Order = None) -> float:
    """How much lower accuracy is at the end than just after learning, mean over all that was learned before the last.

    Where an experience came back, what counts is the last time that it was learned.
    """
    return _mean(np.array(list(forgotten(matrix, order).values())))


def forgotten(matrix: Matrix, order: Order = None) -> dict[int, float]:
    """`forgetting` of each column that it is a mean over."""
    *_, last = matrix
    return {column: matrix[row, column] - last[column] for column, row in _before_last(matrix, order).items()}


def forgetting_curve(matrix: Matrix, order: Order = None) -> list[float]:
    """`forgetting` as it was after each experience: for rows 1, 2, … of ``matrix``; NaN for the first."""
    return [forgetting(matrix[: row + 1], order) for row in range(1, len(matrix))]


def forgetting_from_best(matrix: Matrix, order: Order = None) -> float:
    """As `forgetting`, from the best that an experience reached once it was first learned (Chaudhry et al. 2018)."""
    learned, (*_, last) = _learned(matrix, order), matrix
    columns = _before_last(matrix, order)
    known = {column: matrix[learned.index(column) + 1 : -1, column] for column in columns}
    best = {column: np.nanmax(values) for column, values in known.items() if not np.isnan(values).all()}
    return _mean(np.array([value - last[column] for column, value in best.items()]))


def backward_transfer(matrix: Matrix, order: Order = None) -> float:
    """What later learning did to earlier experiences: minus `forgetting` (Lopez-Paz & Ranzato 2017)."""
    return -forgetting(matrix, order)


def forward_transfer(matrix: Matrix, order: Order = None) -> float:
    """What learning did to experiences that came later: just before they were learned, over what chance gave."""
    learned = _learned(matrix, order)
    firsts = {column: learned.index(column) for column in learned}
    gains = [matrix[row, column] - matrix[0, column] for column, row in firsts.items() if row > 0]
    return _mean(np.array(gains))


MEASURES = {
    measure.__name__: measure
    for measure in (
        average_accuracy, average_incremental_accuracy, forgetting, backward_transfer, forward_transfer,
        forgetting_from_best,
    )
}  # fmt: skip
"""All of them, by name."""


def measures(matrix: Matrix, order: Order = None) -> dict[str, float | None]:
    """All of `MEASURES`; None for what cannot be said yet."""
    values = {name: measure(matrix, order) for name, measure in MEASURES.items()}  # type: ignore[operator]
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def retained(rows: Sequence[Evaluated]) -> dict[str, Any]:
    """What the tests of a stream after 0, 1, … experiences say together.

    The matrix, all measures of it, and what the strategy keeps.
    """
    accuracies = [[score["return_mean"] for score in row.scores.values()] for row in rows]
    matrix, last = as_matrix(accuracies), rows[-1]
    return {
        "matrix": matrix.tolist(), **measures(matrix), "average_accuracies": averages(matrix),
        "memory_bytes": last.memory_bytes, "replay_bytes": last.replay_bytes,
    }  # fmt: skip


def _learned(matrix: Matrix, order: Order) -> list[int]:
    """The column that was learned before each row but the first; ``order`` may know more, of a stream that goes on."""
    rows, columns = len(matrix) - 1, matrix.shape[1]
    learned = list(range(columns) if order is None else order)[: max(rows, 0)]
    if len(learned) < rows or any(not 0 <= column < columns for column in learned):
        raise ValueError(
            f"order: got {learned} for a matrix of {matrix.shape}, allowed are columns from 0 to {columns - 1}, one "
            f"for each of the {rows} rows after the first"
        )
    return learned


def _before_last(matrix: Matrix, order: Order) -> dict[int, int]:
    """The row after each experience was last learned, but for what was learned last of all."""
    rows = {column: row for row, column in enumerate(_learned(matrix, order), start=1)}
    return {column: row for column, row in rows.items() if row < len(matrix) - 1}


def _mean(values: Matrix, columns: Sequence[int] | None = None, weights: Matrix | None = None) -> float:
    """The mean of what is known; NaN where nothing is."""
    chosen = np.arange(len(values)) if columns is None else np.array(columns, dtype=int)
    known = chosen[~np.isnan(values[chosen])]
    if not known.size:
        return float("nan")
    return float(np.average(values[known], weights=None if weights is None else weights[known]))
