"""Checks of fields that several configs have."""

from __future__ import annotations

import re
from typing import Any


def check_name(name: str) -> None:
    """ValueError unless ``name`` can begin the name of a run folder."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"name: got {name!r}, allowed are letters, digits, '_', '-' and '.'")


def check_least(config: Any, least: int, *fields: str) -> None:
    """ValueError for the first of ``fields`` that is below ``least``."""
    for name in fields:
        if getattr(config, name) < least:
            raise ValueError(f"{name}: got {getattr(config, name)}, allowed is a whole number >= {least}")
