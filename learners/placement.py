"""On which device plain data lies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def on_device(device: torch.device, value: Any) -> Any:
    """``value`` with all tensors, in dictionaries of dictionaries too, on ``device``."""
    if isinstance(value, dict):
        return {name: on_device(device, item) for name, item in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
