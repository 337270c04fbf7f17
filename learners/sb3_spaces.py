"""Spaces in the JSON of an agent that stable-baselines3 saved, rebuilt from their readable forms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

MOST = 10**8
"""Numbers in an observation."""


class UnreadableSpace(ValueError):
    """The space is unknown, or its readable form is damaged."""


def read_space(row: Mapping[str, Any]) -> spaces.Box | spaces.Discrete:
    """The Box or Discrete space in ``row``; raises UnreadableSpace."""
    kind = str(row.get(":type:", "")).rpartition(".")[2].removesuffix("'>")
    try:
        if kind == "Box":
            return _box(row)
        if kind == "Discrete":
            return _discrete(row)
    except UnreadableSpace:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise UnreadableSpace(f"its readable form is damaged ({error}); save the agent anew") from error
    raise UnreadableSpace(f"got {kind or 'none'}, allowed are Box and Discrete")


def _discrete(row: Mapping[str, Any]) -> spaces.Discrete:
    if int(row.get("start", 0)) != 0:
        raise UnreadableSpace(f"got Discrete from {row['start']}, allowed is from 0")
    return spaces.Discrete(int(row["n"]))


def _box(row: Mapping[str, Any]) -> spaces.Box:
    shape = tuple(int(length) for length in row.get("_shape", row.get("shape")))  # type: ignore[union-attr]
    if not all(length > 0 for length in shape) or math.prod(shape) > MOST:
        raise ValueError(f"shape {shape}")
    dtype = np.dtype(str(row["dtype"]))
    if dtype.kind not in "fiu":
        raise ValueError(f"dtype {dtype}")
    low, high = (_bound(str(row[name]), shape, dtype, rest) for name, rest in (("low", -np.inf), ("high", np.inf)))
    return spaces.Box(low, high, shape, dtype.type)


def _bound(text: str, shape: tuple[int, ...], dtype: np.dtype[Any], unknown: float) -> NDArray[Any]:
    """The array that NumPy printed as ``text``, which leaves out the middle of a long one: then all of its numbers are
    the same, or they are unknown."""
    numbers = [float(part) for part in re.findall(r"[-+]?(?:inf|\d+\.?\d*(?:e[-+]?\d+)?|\.\d+)", text)]
    if len(numbers) == math.prod(shape) and "..." not in text:
        return np.array(numbers, dtype).reshape(shape)
    if len(set(numbers)) == 1:
        return np.full(shape, numbers[0], dtype)
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    known = unknown if limits is None else (limits.min if unknown < 0 else limits.max)
    return np.full(shape, known, dtype)
