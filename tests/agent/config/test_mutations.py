"""Whatever is done to a config, it is a config or a ConfigError with a line for each problem: never a traceback."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snn4.agent import kinds
from snn4.agent.config.document import parse
from snn4.agent.config.file import CONFIGS, ConfigError, dump

VALUES = [
    "null", "true", "false", "0", "-1", "1", "7", "0.5", "3.0", "1e300", "1e-300", "1e400", "-1e400", ".nan",
    "1000000000000", "9223372036854775807", "99999999999999999999", "'1'", "'99999999999999999999'", "''", "word",
    "'a.b'", '"a\\nb"', '"\\ud800"', "2026-13-01", "0b_", "lin_1e-3", "lin_x", "auto", "[]", "{}", "[1]", "[[1, 2]]",
    "[-1]", "[.inf]", "[true]", "[word]", "[1, step]", "[1000000000]", "{a: 1}", "{1: 2}", "{null: 1}",
    "{a: {b: {c: 1}}}", "!!bool x", "!!int 1.5", "[",
]  # fmt: skip
PIECES = ["", "[", "{", "- ", ": ", "\n", "&a ", "*a ", "!!int ", "'", '"', "#", "\t", "0b", "<<: ", "\x00", "{{", "é"]


def places(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys that lead to each value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*above, str(key))
        yield from places(below, (*above, str(key)))


def overrides(draw: random.Random, keys: list[tuple[str, ...]]) -> list[str]:
    """One to three, some of them of keys that are not there."""
    changes = []
    for _ in range(draw.randint(1, 3)):
        key = list(draw.choice(keys))
        other = draw.choice(["", "7", "-1", "x", "0", draw.choice(keys)[-1]])
        if draw.random() < 0.15:
            key[draw.randrange(len(key))] = other
        elif draw.random() < 0.1:
            key.append(other)
        changes.append(f"{'.'.join(key)}={draw.choice(VALUES)}")
    return changes


def broken(draw: random.Random, text: str) -> str:
    """``text`` with a few characters lost, and others in their place."""
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(text))
        text = text[:start] + draw.choice(PIECES) + text[start + draw.randrange(6) :]
    return text


def mutate(number: int, seed: int, folder: Path) -> int:
    """Read so many mutations of the shipped configs, half of them with every key written out; how many were refused."""
    draw, refused = random.Random(seed), 0
    sources = []
    for path in sorted(CONFIGS.glob("*.yaml")):
        text = path.read_text()
        try:
            texts = [text, dump(kinds.load(path)[1])]
        except ConfigError:  # of a package that is not installed
            texts = [text]
        sources += [(each, list(places(parse(each)))) for each in texts]
    file = folder / "mutated.yaml"
    for _ in range(number):
        text, keys = draw.choice(sources)
        changes = overrides(draw, keys) if draw.random() < 0.7 else []
        file.write_text(text if changes else broken(draw, text), encoding="utf-8")
        try:
            kinds.load(file, changes)
        except ConfigError as error:
            problem = error
        except Exception as error:
            raise AssertionError(f"{changes or file.read_text()}") from error
        else:
            continue
        refused += 1
        assert str(problem).split("\n") == problem.problems != []
    return refused


@pytest.mark.parametrize(("number", "seed"), [(200, 0), pytest.param(20_000, 1, marks=pytest.mark.slow)])
def test_mutations_are_told(number: int, seed: int, tmp_path: Path) -> None:
    assert number / 2 < mutate(number, seed, tmp_path) < number
