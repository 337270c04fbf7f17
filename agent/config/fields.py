"""Checks of fields that several configs share."""

from __future__ import annotations

import re
from typing import Any

MOST = {"threads": 1024, "workers": 1024, "devices": 1024, "keep_checkpoints": 10**6}
"""Largest values of fields; of all others it is 1,000,000,000."""


def check_name(name: str) -> None:
    """Raise ValueError unless the name of a run folder can begin with ``name``."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            f"name: got {name!r}, allowed are letters, digits, '_', '-' and '.', with neither '-' nor '.' in front"
        )


def check_least(config: Any, least: int, *fields: str) -> None:
    """Raise ValueError for the first of ``fields`` that is below ``least`` or above its limit in `MOST`."""
    for name in fields:
        most = MOST.get(name, 10**9)
        if not least <= getattr(config, name) <= most:
            got = f"{name}: got {getattr(config, name)}"
            raise ValueError(f"{got}, allowed is a whole number >= {least} and <= {most:,}")


def check_seed(seed: int) -> None:
    """Raise ValueError unless NumPy accepts ``seed``."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: got {seed}, allowed is a whole number from 0 to 2^32 - 1")


def unusable(device: str) -> str | None:
    """Message why torch cannot compute on ``device``; None if it can."""
    import torch  # takes a second, which other checks do not need

    try:
        torch.zeros(1, device=device)
    except Exception as error:  # torch raises many types
        why = " ".join(str(error).split(".")[0].split())
        return (
            f"device: got {device!r}, which torch cannot use here ({why}); allowed are cpu and those that doctor shows"
        )
    return None
