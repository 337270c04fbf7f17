"""What is told of configs that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from snn4.agent.config.file import ConfigError


def problems_of(load: Callable[[Any, Sequence[str]], Any], path: Path | str, *overrides: str) -> list[str]:
    """Lines of the ConfigError that ``load`` raises."""
    with pytest.raises(ConfigError) as error:
        load(path, overrides)
    assert str(error.value).split("\n") == error.value.problems  # one line each
    return error.value.problems


def by_key(load: Callable[[Any, Sequence[str]], Any], path: Path, *overrides: str) -> dict[str, str]:
    """The same lines by the key that each is about, without the file."""
    told = [line.removeprefix(f"{path}: ").split(": ", 1) for line in problems_of(load, path, *overrides)]
    return {key: what for key, what in told}  # noqa: C416
