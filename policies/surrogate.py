"""Spike functions: a Heaviside step forward, and a smooth derivative backward (Neftci et al. 2019)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def arctan(x: Tensor, slope: float) -> Tensor:
    """slope / 2 / (1 + (pi/2 * slope * x)^2) (Fang et al. 2021)."""
    return slope / 2 / (1 + (math.pi / 2 * slope * x).square())


def sigmoid(x: Tensor, slope: float) -> Tensor:
    """slope * s * (1 - s) with s = sigmoid(slope * x)."""
    s = torch.sigmoid(slope * x)
    return slope * s * (1 - s)


def fast_sigmoid(x: Tensor, slope: float) -> Tensor:
    """1 / (1 + slope * |x|)^2 (SuperSpike, Zenke & Ganguli 2018)."""
    return (1 + slope * x.abs()).square().reciprocal()


def triangle(x: Tensor, slope: float) -> Tensor:
    """slope * max(0, 1 - slope * |x|) (Esser et al. 2016)."""
    return slope * torch.relu(1 - slope * x.abs())


def gaussian(x: Tensor, slope: float) -> Tensor:
    """Density of a normal distribution with standard deviation 1 / slope (Yin et al. 2021)."""
    return slope / math.sqrt(2 * math.pi) * torch.exp(-0.5 * (slope * x).square())


def rectangle(x: Tensor, slope: float) -> Tensor:
    """slope where |x| < 1 / (2 * slope), 0 elsewhere (Wu et al. 2018)."""
    return slope * (slope * x.abs() < 0.5).to(x.dtype)


SURROGATES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "arctan": arctan,
    "sigmoid": sigmoid,
    "fast_sigmoid": fast_sigmoid,
    "triangle": triangle,
    "gaussian": gaussian,
    "rectangle": rectangle,
}


_NO_GRADIENT = "A trace of spiking neurons can act, but passes no gradient: train the module first, then trace it."


class _Spike(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, surrogate: str, slope: float) -> Tensor:
        return (x >= 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.surrogate, ctx.slope = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * SURROGATES[ctx.surrogate](x, ctx.slope), None, None


def spike(x: Tensor, surrogate: str = "arctan", slope: float = 2.0) -> Tensor:
    """1 where ``x`` (membrane minus threshold, any shape) >= 0, else 0; its derivative is the surrogate's.

    Under ``torch.no_grad()`` a spike is a plain comparison. The same is true in a trace of `torch.jit`, which cannot be
    saved with a Python function in it.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        if torch.is_grad_enabled() and x.requires_grad:
            warnings.warn(_NO_GRADIENT, torch.jit.TracerWarning, stacklevel=2)  # type: ignore[attr-defined]
        return (x >= 0).to(x.dtype)
    if not torch.is_grad_enabled():
        return (x >= 0).to(x.dtype)
    return _Spike.apply(x, surrogate, slope)  # type: ignore[no-untyped-call,no-any-return]
