"""Checks of fields that several configs have."""

from __future__ import annotations

import re
from typing import Any

MOST = {"threads": 1024, "workers": 1024, "devices": 1024, "keep_checkpoints": 10**6}
"""What fields may be at most; others 1,000,000,000."""


def check_name(name: str) -> None:
    """ValueError unless ``name`` can begin the name of a run folder."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            f"name: got {name!r}, allowed are letters, digits, '_', '-' and '.', none of the last two in front"
        )


def check_least(config: Any, least: int, *fields: str) -> None:
    """ValueError for the first of ``fields`` that is below ``least``, or above what any computer has (`MOST`)."""
    for name in fields:
        most = MOST.get(name, 10**9)
        if not least <= getattr(config, name) <= most:
            got = f"{name}: got {getattr(config, name)}"
            raise ValueError(f"{got}, allowed is a whole number >= {least} and <= {most:,}")


def check_seed(seed: int) -> None:
    """ValueError unless NumPy takes ``seed``, too."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: got {seed}, allowed is a whole number from 0 to 2^32 - 1")


def unusable(device: str) -> str | None:
    """Why torch cannot compute on ``device``; None if it can."""
    import torch  # a second, which checks of other fields need not take

    try:
        torch.zeros(1, device=device)
    except Exception as error:  # of another kind for each way in which there is none
        why = " ".join(str(error).split(".")[0].split())
        return f"device: got {device!r}, which torch cannot use here ({why}); allowed are cpu and what doctor shows"
    return None
