from __future__ import annotations

import io
import math

import pytest
from rich.console import Console
from rich.panel import Panel

from snn4.agent.show.scatter import Mark, Scatter


def cells(scatter: Scatter, width: int, height: int) -> dict[str, tuple[int, int]]:
    """Column and row, from the left and from below, of each character of the plot."""
    _, *rows, _ = (line.plain for line in scatter.lines(width, height))
    body = [row.replace("┤", "│").partition("│")[2] for row in rows]
    return {
        character: (column, len(body) - 1 - number)
        for number, row in enumerate(body)
        for column, character in enumerate(row)
        if character != " "
    }


@pytest.mark.parametrize("log", [False, True])
def test_marks_stand_where_their_numbers_say(log: bool) -> None:
    marks = [Mark(1.0, 10.0, "a"), Mark(100.0, 30.0, "b"), Mark(10.0, 20.0, "c")]
    lines = Scatter(marks, "cost", "value", log).lines(28, 9)
    columns = 28 - len("10.0") - 2
    share = math.log(10) / math.log(100) if log else 9 / 99
    assert cells(Scatter(marks, "cost", "value", log), 28, 9) == {
        "a": (0, 0), "b": (columns - 1, 6), "c": (round(share * (columns - 1)), 3)
    }  # fmt: skip
    assert {len(line) for line in lines[1:]} == {28}
    assert lines[0].plain == "value"
    assert [lines[1].plain[:6], lines[-2].plain[:6]] == ["30.0 ┤", "10.0 ┤"]
    assert lines[-1].plain.split() == ["1.0", "cost", *(["(log)"] if log else []), "100.0"]


def test_later_marks_cover_earlier_ones() -> None:
    marks = [Mark(1.0, 1.0, "a"), Mark(1.0, 1.0, "b"), Mark(2.0, 1.0, "c")]
    assert set(cells(Scatter(marks, "x", "y"), 20, 8)) == {"b", "c"}


def test_one_mark_stands_in_the_middle() -> None:
    assert cells(Scatter([Mark(5.0, 5.0, "a")], "x", "y"), 25, 9) == {"a": (10, 3)}


@pytest.mark.parametrize(("width", "height"), [(4, 3), (8, 4), (9, 5), (30, 6), (200, 60)])
def test_it_fills_any_room(width: int, height: int) -> None:
    marks = [Mark(1.0, 1.0, "a"), Mark(26104.0, 500.0, "b")]
    file = io.StringIO()
    Console(file=file, width=width).print(Panel(Scatter(marks, "operations", "return", log=True), height=height))
    lines = file.getvalue().splitlines()
    assert len(lines) == height
    assert {len(line) for line in lines} <= {width}
