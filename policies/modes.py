"""Modes of a network: its device, and temporary evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def device(network: nn.Module) -> torch.device:
    """The device of the first parameter."""
    return next(network.parameters()).device


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside; afterwards each module returns to its previous mode (parts may be frozen)."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
