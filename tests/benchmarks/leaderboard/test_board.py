from __future__ import annotations

import json
import re

import pytest

from snn4.benchmarks.leaderboard.anchors import Anchor, read_anchors
from snn4.benchmarks.leaderboard.board import HEAD, SHOWN, _joules, as_json, board, first_rows
from snn4.benchmarks.leaderboard.rows import Row, rows_of
from snn4.benchmarks.records import RESULTS, Record, read_records


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return read_records(RESULTS)


@pytest.fixture(scope="module")
def rows(records: list[Record]) -> list[Row]:
    return rows_of(records)


@pytest.fixture(scope="module")
def anchors() -> list[Anchor]:
    return read_anchors()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_row_and_every_anchor_has_a_line(records: list[Record], rows: list[Row], anchors: list[Anchor]) -> None:
    text = board(rows, anchors, records)
    lines = [cells(line) for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    scored = [line for line in lines if len(line) == len(HEAD) and line != HEAD]
    assert len(scored) == len(rows) + len(anchors)
    assert sum(line[0].startswith("quoted: ") for line in scored) == len(anchors)
    measured = [line for line in scored if not line[0].startswith("quoted: ")]
    assert all(re.fullmatch(r"(?:[0-9a-f]{7}(?:, )?)+\*?", line[HEAD.index("commit")]) for line in measured)
    for name in ("c.json", "compression/engine.json", "lava.json", "speed.json"):
        assert f"| {name} | `" in text


def test_tasks_are_headings_and_scores_fall(records: list[Record], rows: list[Row], anchors: list[Anchor]) -> None:
    for part in board(rows, anchors, records).split("### ")[1:]:
        task, _, table = part.partition("\n")
        lines = [line for line in table.partition("\n## ")[0].splitlines() if line.startswith("| ")][2:]
        scores = [float(cells(line)[HEAD.index("score")].partition(" ")[0]) for line in lines]
        assert scores == sorted(scores, reverse=True), task


def test_a_row_shows_its_figures(records: list[Record], rows: list[Row], anchors: list[Anchor]) -> None:
    lines = [cells(line) for line in board(rows, anchors, records).splitlines() if line.startswith("| SNN | cifar10 |")]
    assert lines == [[
        "SNN", "cifar10", "1", "92.15", "103,899", "162,600,367", "4", "195 µJ†", "11.3 mJ†", "", "", "", "1,993,258",
        "7.98 MB", "75 % / 0 %", "bf8a36d", "AMD EPYC, 2 cores",
    ]]  # fmt: skip


def test_json_holds_the_same(rows: list[Row], anchors: list[Anchor]) -> None:
    content = json.loads(as_json(rows, anchors))
    assert (len(content["rows"]), len(content["quoted"])) == (len(rows), len(anchors))
    for shown, row in zip(content["rows"], rows, strict=True):
        assert shown["mean"] == pytest.approx(row.mean, rel=1e-5)
        assert (shown["task"], shown["record"], tuple(shown["commits"])) == (row.task, row.record, row.commits)
        assert set(shown["neurobench"]) == {
            "Footprint", "ConnectionSparsity", "ActivationSparsity", "Effective_MACs", "Effective_ACs", "Dense"
        }  # fmt: skip


def test_the_first_rows_are_those_of_the_leaderboard(rows: list[Row], anchors: list[Anchor]) -> None:
    lines = [cells(line) for line in first_rows(rows, anchors).splitlines()[2:]]
    assert len(lines) == len(SHOWN) == 6
    assert lines[0][:4] == ["CartPole-v1", "5", "500.0 ± 0.0", "500.0 ± 0.0"]
    assert lines[1][4] == "-69.1 (QR-DQN)"
    assert all("not trained" not in line for line in lines)
    without = [row for row in rows if row.network != "ANN twin"]
    assert [cells(line)[3] for line in first_rows(without, anchors).splitlines()[2:]] == ["not trained"] * 6


@pytest.mark.parametrize(
    ("joules", "shown"),
    [(None, ""), (0.0, "0.00 pJ"), (2.663e-9, "2.66 nJ"), (20.608e-9, "20.6 nJ"), (195.45e-6, "195 µJ"),
     (9.996e-7, "1.00 µJ"), (9.994e-7, "999 nJ"), (1.5, "1.50 J"), (4321.0, "4321 J")],
)  # fmt: skip
def test_joules_have_three_digits(joules: float | None, shown: str) -> None:
    assert _joules(joules) == shown
