"""Reports of a conversion, which takes seconds to minutes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """A report while an ANN is converted."""

    stage: str
    done: int
    total: int
