"""Norms of spiking networks: for single samples, scaled to the threshold, or with statistics of each step."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from snn4.policies.network import OverSteps, Stateful, checked_steps


class _FromTwo(OverSteps, _BatchNorm):
    """Batch norm that learns statistics only if a step has at least two values per channel.

    A single sample of a fully connected layer has no variance, so the running statistics normalize it and do not
    change. torch would raise an error for one step. For T steps, it would normalize the sample by its own values over
    time, which evaluation never does.
    """

    def forward(self, x: Tensor, steps: int = 1) -> Tensor:
        if not self.training or _has_spread(x, steps):
            return super().forward(x)
        return _running_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)


class BatchNorm1d(_FromTwo, nn.BatchNorm1d):
    """torch's batch norm for (T * B, C); the running statistics normalize a mini-batch of one sample."""


class BatchNorm2d(_FromTwo, nn.BatchNorm2d):
    """torch's batch norm for (T * B, C, H, W); the running statistics normalize a mini-batch of one pixel."""


def _has_spread(x: Tensor, steps: int = 1) -> bool:
    """Whether each channel of ``x`` (T * B, C, …) has at least two values per step."""
    return x.numel() > steps * x.shape[1]


def _running_norm(
    x: Tensor, mean: Tensor | None, var: Tensor | None, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    # Copies, because another forward pass may change the statistics before the backward pass needs them.
    mean, var = (None if values is None else values.clone() for values in (mean, var))
    return F.batch_norm(x, mean, var, weight, bias, eps=eps)


def threshold_norm(channels: int, v_threshold: float) -> BatchNorm2d:
    """Threshold-dependent batch norm (tdBN, Zheng et al. 2021) for T * B images (T * B, channels, H, W).

    ``y = weight * (x - mean) / sqrt(var + eps) + bias`` over all steps and samples scales the current to the threshold:
    it is a batch norm whose weight starts at ``v_threshold``.
    """
    norm = BatchNorm2d(channels)
    nn.init.constant_(norm.weight, v_threshold)
    return norm


class StepNorm2d(Stateful):
    """Batch norm with separate statistics per step: ``(x (T, B, C, H, W), state) -> (y (T, B, C, H, W), state)``.

    Batch norm through time (BNTT, Kim & Panda 2021): means and variances, also the running ones, are those of the B
    samples at one step. The running statistics normalize a single value per channel. The state is the number of
    previous steps, so running one step at a time gives the same result as running all steps at once.

    Args:
        channels: C.
        T: number of steps with running statistics; from rest, the network can run for at most T steps.
        affine: ``shared`` learns one weight and bias (C,) for all steps; ``step`` learns them per step (T, C), like
            BNTT, which has no bias.
        eps: added to the variance.
        momentum: momentum of the running statistics.

    Raises:
        ValueError: for a wrong argument, which the message names, and for an input with other channels or more steps
            than the norm has.
    """

    def __init__(
        self,
        channels: int,
        T: int,
        affine: Literal["shared", "step"] = "shared",
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("T", T)):
            if value < 1:
                raise ValueError(f"{name}: got {value}, allowed is a whole number >= 1")
        if affine not in ("shared", "step"):
            raise ValueError(f"affine: got {affine!r}, allowed are shared, step")
        self.channels, self.T = channels, T
        self.affine = affine
        self.eps, self.momentum = eps, momentum
        shape = (channels,) if affine == "shared" else (T, channels)
        self.weight, self.bias = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(T, channels))
        self.register_buffer("running_var", torch.ones(T, channels))

    def forward(self, x: Tensor, state: int | None = None, steps: int | None = None) -> tuple[Tensor, int]:
        """Normalize steps ``state`` to ``state + T``; ``x`` may be one constant step (1, B, C, H, W)."""
        first, steps = state or 0, checked_steps(x, steps)
        if x.dim() != 5 or x.shape[2] != self.channels:
            raise ValueError(f"x: got shape {tuple(x.shape)}, allowed is (T, B, {self.channels}, H, W)")
        if first + steps > self.T:
            raise ValueError(f"steps: got {steps} after {first}, allowed is {self.T} in all, the norm's T")
        parts = [self._step(x[t if len(x) > 1 else 0], first + t) for t in range(steps)]
        return torch.stack(parts), first + steps

    def _step(self, x: Tensor, t: int) -> Tensor:
        weight, bias = (self.weight, self.bias) if self.affine == "shared" else (self.weight[t], self.bias[t])
        mean, var = self.running_mean[t], self.running_var[t]
        if self.training and not _has_spread(x):
            return _running_norm(x, mean, var, weight, bias, self.eps)
        return F.batch_norm(x, mean, var, weight, bias, self.training, self.momentum, self.eps)

    def extra_repr(self) -> str:
        return f"{self.channels}, T={self.T}, affine={self.affine}, eps={self.eps}, momentum={self.momentum}"
