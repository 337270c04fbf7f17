"""The modes of a network: where it lies, and evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def device(network: nn.Module) -> torch.device:
    """Where the first parameter lies."""
    return next(network.parameters()).device


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside; each module has its own mode again afterwards (parts may be frozen)."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
