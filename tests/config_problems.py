"""What is told of configs that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from snn4.agent import kinds
from snn4.agent.config.file import ConfigError


def problems_of(config: Path | str, *overrides: str) -> list[str]:
    """Lines of the ConfigError that loading raises, without the file, which begins each."""
    with pytest.raises(ConfigError) as error:
        kinds.load(config, overrides)
    assert str(error.value).split("\n") == error.value.problems  # one line each
    assert all(problem.startswith(f"{config}: ") for problem in error.value.problems)
    return [problem.removeprefix(f"{config}: ") for problem in error.value.problems]


def by_key(config: Path | str, *overrides: str) -> dict[str, str]:
    """The same lines by the key that each is about."""
    lines = [line.split(": ", 1) for line in problems_of(config, *overrides)]
    assert len({key for key, _ in lines}) == len(lines)
    return {key: what for key, what in lines}  # noqa: C416


def assert_problems(expected: dict[str, list[str]], config: Path | str, *overrides: str) -> None:
    """These keys have problems and no others, and each line has these parts."""
    problems = by_key(config, *overrides)
    assert set(problems) == set(expected)
    for key, parts in expected.items():
        assert all(part in problems[key] for part in parts), problems[key]
