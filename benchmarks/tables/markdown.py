"""Parts of Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def spread(statistics: dict[str, Any], digits: int, factor: float = 1) -> str:
    """``mean ± std`` of `mean_and_std`, times ``factor``; the mean alone for a single seed."""
    numbers = [value for value in (statistics["mean"], statistics["std"]) if value is not None]
    return " ± ".join(f"{factor * number:.{digits}f}" for number in numbers)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
