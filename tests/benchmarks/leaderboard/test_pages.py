from __future__ import annotations

import pytest

from snn4.benchmarks.leaderboard.pages import BOARD, TABLES, by_suite, tables
from snn4.benchmarks.record_schema import RecordError
from snn4.benchmarks.records import RESULTS, Record, read_records


def test_only_what_stands_between_markers_changes() -> None:
    text = f"before\n<!-- begin: {BOARD} -->\nold\n<!-- end -->\nafter <!-- begin -->\n"
    written = tables([], {BOARD: "| new |"})(text)
    assert written == f"before\n<!-- begin: {BOARD} -->\n\n| new |\n\n<!-- end -->\nafter <!-- begin -->\n"
    assert tables([], {BOARD: "| new |"})(written) == written


def test_an_unknown_marker_is_named() -> None:
    with pytest.raises(RecordError, match="begin: got 'rm -r /', allowed are snn4-agent leaderboard, "):
        tables([], {BOARD: ""})("<!-- begin: rm -r / -->\n<!-- end -->")


@pytest.mark.parametrize("marker", TABLES)
def test_a_table_without_its_records(marker: str) -> None:
    text = f"<!-- begin: {marker} -->\n<!-- end -->"
    with pytest.raises(RecordError, match="a record lacks figures"):
        tables([], {BOARD: ""})(text)
    assert "| --- |" in tables(read_records(RESULTS), {})(text)


def test_submitted_records_are_in_no_table_of_a_suite() -> None:
    content = {"suite": "submitted"}
    assert by_suite([Record(RESULTS, content)]) == {"submitted": [content]}
