"""Layers that spiking graphs alone have: several inputs, max pooling of spikes, late scores, limited activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.policies.network import Stateful, checked_steps


class Join(nn.Module):
    """A layer with several inputs: their sum, or their channels one after the other."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.kind == "add":
            return sum(inputs[1:], inputs[0])
        steps = max(len(x) for x in inputs)
        # Channels come before height and width; without these, last.
        dim = -3 if inputs[0].dim() > 3 else -1
        return torch.cat([x.expand(steps, *x.shape[1:]) for x in inputs], dim)


class SpikeMaxPool2d(Stateful):
    """Max pooling of accumulated spikes: its own spikes sum to the largest sum of spikes in the window.

    ``y[t] = max sum_{k<=t} x[k] - max sum_{k<=t-1} x[k]`` is 0 or 1 for spikes of 0 and 1, so a rate after T steps is
    exactly the maximum of the rates. The state is the sum of spikes so far (B, C, H, W).

    Args:
        options: of `torch.nn.functional.max_pool2d`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor, state: Tensor | None = None, steps: int | None = None) -> tuple[Tensor, Tensor]:
        steps = checked_steps(x, steps)
        x = x.expand(steps, *x.shape[1:]) if len(x) < steps else x
        first = torch.zeros_like(x[:1]) if state is None else state.unsqueeze(0)
        sums = torch.cat([first, first + x.cumsum(0)])
        largest = F.max_pool2d(sums.flatten(0, 1), **self.options).unflatten(0, sums.shape[:2])
        return largest.diff(dim=0), sums[-1]

    def without_time(self) -> nn.Module:
        return nn.MaxPool2d(**self.options)


class BurnIn(Stateful):
    """Scores (T, B, n) without those of the first ``steps``: the mean of the outputs so far is that of later scores.

    Outputs of the first steps are 0. With x summed from step ``steps + 1`` on, ``y[1] + … + y[t] = t / (t - steps) *
    (x[steps + 1] + … + x[t])``. The state is the number of steps so far, and the sum of the x (1, B, n).
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(
        self, x: Tensor, state: tuple[int, Tensor] | None = None, steps: int | None = None
    ) -> tuple[Tensor, tuple[int, Tensor]]:
        steps = checked_steps(x, steps)
        first, before = state or (0, torch.zeros_like(x[:1]))
        number = torch.arange(first, first + steps + 1, device=x.device).view(-1, *(1,) * (x.dim() - 1))
        sums = torch.cat([before, before + torch.where(number[1:] > self.steps, x, 0).cumsum(0)])
        factors = (number.double() / (number - self.steps).clamp_min(1)).to(x.dtype)
        outputs = (sums * factors).diff(dim=0)
        return outputs, (first + steps, sums[-1:])

    def without_time(self) -> nn.Module:
        return nn.Identity()

    def extra_repr(self) -> str:
        return str(self.steps)


class Clip(nn.Hardtanh):
    """ReLU with a largest output for each channel of images (B, C, H, W) or vectors (B, C)."""

    def __init__(self, limits: Sequence[float]) -> None:
        super().__init__(0.0, max(limits))
        self.limits = limits

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().minimum(x.new_tensor(self.limits).view(-1, *(1,) * (x.dim() - 2)))
