"""The limit of a training step: the convolutions of the network alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch

from snn4.benchmarks.peers import CHANNELS

CLOSE = 1 / 1.15
"""The aim beside `LIMIT`: a step takes at most 1.15 times as long."""
LIMIT = "convolutions alone"
"""What a training step could take at best: T times the ANN's convolutions, without norms, neurons and pooling."""


def convolutions(T: int, bfloat16: bool = False) -> Callable[[], None]:
    """A function that does T times the convolutions of the network's ANN twin on 32 images, forward and backward.

    The first one passes no gradient to the images.
    """
    layers: list[tuple[torch.nn.Module, torch.Tensor, torch.Tensor]] = []
    side = 32
    for a, b in pairwise((3, *CHANNELS)):
        conv = torch.nn.Conv2d(a, b, 3, padding=1, bias=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.randn(32 * T, a, side, side).to(memory_format=torch.channels_last).requires_grad_(bool(layers))
        layers.append((conv, x, torch.ones(32 * T, b, side, side).to(memory_format=torch.channels_last)))
        side //= 2

    def step() -> None:
        for conv, x, gradient in layers:
            x.grad = conv.weight.grad = None
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                y = conv(x)
            y.backward(gradient.to(y.dtype))

    return step
