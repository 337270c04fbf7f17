from __future__ import annotations

import doctest

import pytest

from snn4.agent.show import text
from snn4.agent.show.text import COUNTED, METERED_BEFORE, counted, duration, figure, percent, prefixed, sparkline


def test_doctests() -> None:
    failed, tried = doctest.testmod(text)
    assert tried
    assert not failed


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (12.5, "12.5"), (1.234e-6, "1.234 µ"), (4e-12, "4 p"), (1973258, "1.973 M"), (1e-20, "1e-05 f"),
     (999.9, "999.9"), (1000, "1 k"), (None, "-")],
)  # fmt: skip
def test_numbers_have_prefixes(value: float | None, text: str) -> None:
    assert prefixed(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.0, "0.00"), (1.0, "100.00"), (0.98765, "98.77")])
def test_percents(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(("value", "text"), [(-187.26, "-187.3"), (0.98765, "0.988"), (0.0, "0.0"), (1.0, "1.0")])
def test_returns_that_are_fractions_have_more_digits(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (125, "0:02:05"), (3 * 3600 + 61, "3:01:01"), (1e6, "277:46:40")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sparkline() -> None:
    assert sparkline([3.0, 3.0], 10) == "▄▄"
    assert sparkline([0.0] * 50 + [1.0] * 50, 4) == "▁▁██"
    assert len(sparkline([float(n % 7) for n in range(1001)], 40)) == 40


def test_a_table_says_what_its_energies_hold() -> None:
    now, before = {"neuron_macs": 0.0}, {"effective_macs": 0.0}
    assert (counted([now, now]), counted([now, before])) == (COUNTED, METERED_BEFORE)
