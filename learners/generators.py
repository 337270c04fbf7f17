"""Generators that report on their way to a result."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

Result = TypeVar("Result")


def result_of(generator: Generator[Any, None, Result]) -> Result:
    """The return value of ``generator``, whose reports nobody reads."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
