from __future__ import annotations

import pytest

from snn4.benchmarks.timing import fastest, ratio, take_turns


def test_contenders_take_turns_after_warming_up() -> None:
    calls: list[str] = []
    times = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, repeat=3, warm_up=1)
    assert "".join(calls) == "ab" + "aaabbb" * 2
    assert {name: len(rounds) for name, rounds in times.items()} == {"a": 2, "b": 2}
    assert all(seconds >= 0 for rounds in times.values() for seconds in rounds)


def test_ratio_is_taken_within_a_round() -> None:
    """A round in which the machine was slow for both does not count more than others."""
    times = {"one": [1.0, 10.0, 1.0], "other": [2.0, 20.0, 4.0]}
    assert ratio(times, "one", "other") == {"low": 2.0, "median": 2.0, "high": 3.0}
    assert ratio(times, "other", "one")["median"] == 0.5


def test_fastest_by_median() -> None:
    assert fastest({"a": [1.0, 9.0, 9.0], "b": [5.0, 5.0, 5.0], "c": [0.0, 0.0, 0.0]}, ["a", "b"]) == "b"


def test_nothing_to_choose_from() -> None:
    with pytest.raises(ValueError, match="empty"):
        fastest({}, [])
