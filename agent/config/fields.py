"""Checks of fields that several configs have."""

from __future__ import annotations

import re
from typing import Any


def check_name(name: str) -> None:
    """ValueError unless ``name`` can begin the name of a run folder."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            f"name: got {name!r}, allowed are letters, digits, '_', '-' and '.', none of the last two in front"
        )


def check_least(config: Any, least: int, *fields: str) -> None:
    """ValueError for the first of ``fields`` that is below ``least``."""
    for name in fields:
        if getattr(config, name) < least:
            raise ValueError(f"{name}: got {getattr(config, name)}, allowed is a whole number >= {least}")


def check_seed(seed: int) -> None:
    """ValueError unless NumPy takes ``seed``, too."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: got {seed}, allowed is a whole number from 0 to 2^32 - 1")
