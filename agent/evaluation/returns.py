"""The retention of tasks in a life: returns on one scale, where 0 is chance and 1 a policy of one task alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from snn4.agent.evaluation.matrix import as_matrix, measures

Rows = Sequence[Mapping[str, float]]
"""After each finished task: mean return by label in every task so far, and in the next one before it is learned."""


def retention(
    rows: Rows, order: Sequence[str], chance: Mapping[str, float], references: Mapping[str, float | None],
    newborn: Mapping[str, float],
) -> dict[str, Any]:  # fmt: skip
    """Returns after each task, raw and normalised, and the measures (`snn4.agent.evaluation.matrix`) of the latter.

    Args:
        rows: measured returns, one row per finished task.
        order: label of the task before each row, and possibly of tasks to come.
        chance: return of random actions in each task.
        references: return that counts as 1; None takes the best return in ``rows`` at the end of the task.
        newborn: return of a policy that has learned nothing, in every task but the first.
    """
    tasks = list(dict.fromkeys(order))
    marks = {task: _mark(task, rows, order, references) for task in tasks}
    normal = [[normalized(row.get(task), chance[task], marks[task]) for task in tasks] for row in rows]
    first = [normalized(newborn.get(task), chance[task], marks[task]) for task in tasks]
    matrix = as_matrix([first, *normal])
    return {
        "tasks": tasks,
        "order": list(order[: len(rows)]),
        "chance": {task: chance[task] for task in tasks},
        "reference": marks,
        "returns": [[row.get(task) for task in tasks] for row in rows],
        "normalized": normal,
        "measures": measures(matrix, [tasks.index(task) for task in order[: len(rows)]]),
    }


def _mark(task: str, rows: Rows, order: Sequence[str], references: Mapping[str, float | None]) -> float | None:
    if (given := references.get(task)) is not None:
        return given
    return max(
        (row[task] for row, lived in zip(rows, order, strict=False) if lived == task and task in row), default=None
    )


def normalized(value: float | None, chance: float, mark: float | None) -> float | None:
    """A return on a scale where ``chance`` is 0 and ``mark`` is 1; None if ``mark`` is not above ``chance``."""
    if value is None or mark is None or mark < chance or math.isclose(mark, chance):
        return None
    return (value - chance) / (mark - chance)
