"""Texts that are no document are told in one line; those that are come back as they were written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn4.agent.config.document import DEPTH, VALUES, Unreadable, parse, write, write_inline

NINE = [", ".join([f"*{name}"] * 9) for name in "abcdefg"]
BOMB = "a: &a [1, 1]\n" + "\n".join(f"{b}: &{b} [{nine}]" for b, nine in zip("bcdefgh", NINE, strict=True))
MERGES = "a: &a {x: 1}\n" + "\n".join(f"{b}: &{b} {{<<: [{nine}]}}" for b, nine in zip("bcdefgh", NINE, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: 0b_", "'0b_' is no whole number"),
        ("x: !!bool word", "'word' is no bool"),
        ("x: !!int 1.5", "'1.5' is no whole number"),
        ("x: " + "9" * 5000, "is no whole number below 2^63"),
        ("x: 0x" + "f" * 5000, "is no whole number below 2^63"),
        ('x: "\\ud800"', "is no text of whole characters"),
        ("x: !!timestamp today", "could not determine a constructor"),
        ("x: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("? [a]\n: b", "unhashable key"),
        ("<<: 3", "expected a mapping"),
        ("&a [*a]", "contains itself"),
        ("a: &a {b: [*a]}", "contains itself"),
        ("[" * 100_000, f"nested too deeply, allowed are {DEPTH} levels"),
        ("{a: " * 5_000, "nested too deeply"),
        ("a: &a " + "[" * 20 + "]" * 20 + "\nb: " + "[" * 20 + "*a" + "]" * 20, "nested too deeply"),
        (BOMB, f"too many values, allowed are {VALUES:,}"),
        (MERGES, "too many values"),
        ("\x00", "not allowed"),
        ("a\tb: [", "cannot start any token"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_document(text: str, message: str) -> None:
    with pytest.raises(Unreadable) as error:
        parse(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_dates_are_texts() -> None:
    assert parse("[2026-13-01, 2026-01-01, 12:30]") == ["2026-13-01", "2026-01-01", 750]


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(VALUE)
def test_what_is_written_is_read_again(value: object) -> None:
    assert parse(write(value)) == value
    assert parse(write_inline(value)) == value
