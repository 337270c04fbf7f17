"""Tensors in plain data: iteration, and moves between devices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested dictionaries and lists, each with the last key on the way to it."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from tensors(item, str(key))
    elif isinstance(value, list):
        for item in value:
            yield from tensors(item, name)


def on_device(device: torch.device, value: Any) -> Any:
    """``value`` with all tensors on ``device``, including those in nested dictionaries."""
    if isinstance(value, dict):
        return {name: on_device(device, item) for name, item in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
