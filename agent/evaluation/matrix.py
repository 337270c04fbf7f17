"""Measures of continual learning, from a matrix of accuracies or of any score where more is better.

A matrix has a row for each moment and a column for each experience: row 0 is before anything was learned, row k after k
experiences. A score that was not measured is None or NaN, and left out of every mean. ``order`` lists the column of the
experience learned before each of the rows 1, 2, …; None means one after the other. An experience that is learned twice
(an environment that comes back) has one column, and two entries in ``order``.
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
        ValueError: there are no rows, or they differ in length.
    """
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1 or not lengths[0]:
        raise ValueError(
            f"rows: got {len(rows)} with {lengths} values, allowed are one or more of equal length, not empty"
        )
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float64)


def averages(matrix: Matrix, order: Order = None, weights: Sequence[float] | None = None) -> list[float]:
    """Average accuracy after each experience (rows 1, 2, … of ``matrix``), over the experiences learned by then.

    Args:
        weights: of each column; numbers of test samples give the accuracy over all samples; None weights equally.
    """
    learned = _learned(matrix, order)
    shares = np.ones(matrix.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != matrix.shape[1:]:
        raise ValueError(f"weights: got {shares.size}, allowed are {matrix.shape[1]}, one per column")
    return [_mean(matrix[row], sorted(set(learned[:row])), shares) for row in range(1, len(matrix))]


def average_accuracy(matrix: Matrix, order: Order = None, weights: Sequence[float] | None = None) -> float:
    """The last of `averages`; NaN if nothing was learned yet."""
    return (averages(matrix, order, weights) or [np.nan])[-1]


def average_incremental_accuracy(matrix: Matrix, order: Order = None, weights: Sequence[float] | None = None) -> float:
    """The mean of `averages` (Rebuffi et al. 2017)."""
    return _mean(np.array(averages(matrix, order, weights)))


def forgetting(matrix: Matrix, order: Order = None) -> float:
    """Accuracy just after learning minus accuracy at the end; the mean over all experiences before the last one.

    If an experience was learned several times, the last time counts.
    """
    return _mean(np.array(list(forgotten(matrix, order).values())))


def forgotten(matrix: Matrix, order: Order = None) -> dict[int, float]:
    """`forgetting` of each single column."""
    *_, last = matrix
    return {column: matrix[row, column] - last[column] for column, row in _before_last(matrix, order).items()}


def forgetting_curve(matrix: Matrix, order: Order = None) -> list[float]:
    """`forgetting` after each experience (rows 1, 2, … of ``matrix``); NaN for the first."""
    return [forgetting(matrix[: row + 1], order) for row in range(1, len(matrix))]


def forgetting_from_best(matrix: Matrix, order: Order = None) -> float:
    """As `forgetting`, but from the best accuracy after an experience was first learned (Chaudhry et al. 2018)."""
    learned, (*_, last) = _learned(matrix, order), matrix
    columns = _before_last(matrix, order)
    known = {column: matrix[learned.index(column) + 1 : -1, column] for column in columns}
    best = {column: np.nanmax(values) for column, values in known.items() if not np.isnan(values).all()}
    return _mean(np.array([value - last[column] for column, value in best.items()]))


def backward_transfer(matrix: Matrix, order: Order = None) -> float:
    """Effect of learning on earlier experiences: minus `forgetting` (Lopez-Paz & Ranzato 2017)."""
    return -forgetting(matrix, order)


def forward_transfer(matrix: Matrix, order: Order = None) -> float:
    """Effect of learning on later experiences: accuracy just before they were learned, minus that of row 0."""
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
    """All of `MEASURES`; None for those that are not defined yet."""
    values = {name: measure(matrix, order) for name, measure in MEASURES.items()}  # type: ignore[operator]
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def retained(rows: Sequence[Evaluated]) -> dict[str, Any]:
    """The matrix of tests after 0, 1, … experiences, its measures, and the memory of the strategy."""
    accuracies = [[score["return_mean"] for score in row.scores.values()] for row in rows]
    matrix, last = as_matrix(accuracies), rows[-1]
    return {
        "matrix": matrix.tolist(), **measures(matrix), "average_accuracies": averages(matrix),
        "memory_bytes": last.memory_bytes, "replay_bytes": last.replay_bytes,
    }  # fmt: skip


def _learned(matrix: Matrix, order: Order) -> list[int]:
    """The column learned before each row but the first; ``order`` may be longer, in a stream that is not over."""
    rows, columns = len(matrix) - 1, matrix.shape[1]
    learned = list(range(columns) if order is None else order)[: max(rows, 0)]
    if len(learned) < rows or any(not 0 <= column < columns for column in learned):
        raise ValueError(
            f"order: got {learned} for a matrix of {matrix.shape}, allowed are columns from 0 to {columns - 1}, one "
            f"for each of the {rows} rows after the first"
        )
    return learned


def _before_last(matrix: Matrix, order: Order) -> dict[int, int]:
    """By column: the row after the experience was last learned, for all but the last experience."""
    rows = {column: row for row, column in enumerate(_learned(matrix, order), start=1)}
    return {column: row for column, row in rows.items() if row < len(matrix) - 1}


def _mean(values: Matrix, columns: Sequence[int] | None = None, weights: Matrix | None = None) -> float:
    """The mean without NaN; NaN if nothing is left."""
    chosen = np.arange(len(values)) if columns is None else np.array(columns, dtype=int)
    known = chosen[~np.isnan(values[chosen])]
    if not known.size:
        return float("nan")
    return float(np.average(values[known], weights=None if weights is None else weights[known]))
