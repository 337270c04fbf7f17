"""The time loop of a spiking layer over (T, B, …): one fused kernel on CPUs, a plain loop everywhere else.

Both compute, for every neuron and step::

    u[t] = decay * v[t-1] + (gain * I[t] + leak)
    s[t] = u[t] >= v_threshold
    v[t] = u[t] - s[t] * v_threshold  (soft reset, v_reset is None)   or   v_reset where s[t] else u[t]

and the fused kernel's spikes equal the loop's to the bit. Gradients pass through the surrogate and the membrane, not
through the reset.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snn4.policies.surrogate import SURROGATES, spike

_SURROGATE_NUMBERS = {name: number for number, name in enumerate(SURROGATES)}
_log = logging.getLogger(__name__)


class _Dynamics(NamedTuple):
    decay: float
    gain: float
    leak: float
    v_threshold: float
    v_reset: float | None
    surrogate: str
    slope: float


def scan(
    current: Tensor,
    v: Tensor,
    *,
    decay: float,
    gain: float = 1.0,
    leak: float = 0.0,
    v_threshold: float = 1.0,
    v_reset: float | None = None,
    surrogate: str = "arctan",
    slope: float = 2.0,
) -> tuple[Tensor, Tensor]:
    """Spikes (T, B, …) and last membrane (B, …) for input ``current`` (T, B, …) and first membrane ``v`` (B, …)."""
    if v.shape != current.shape[1:]:
        raise ValueError(
            f"v: got shape {tuple(v.shape)}, allowed is {tuple(current.shape[1:])}, that of one step of the input; "
            f"start from a new state when the batch changes"
        )
    dynamics = _Dynamics(decay, gain, leak, v_threshold, v_reset, surrogate, slope)
    if current.device.type == "cpu" and current.dtype == v.dtype == torch.float32 and _kernels() is not None:
        if torch.is_grad_enabled():
            return _FusedScan.apply(current, v, dynamics)  # type: ignore[no-untyped-call,no-any-return]
        spikes, _, v = _fused_forward(current, v, dynamics)
        return spikes, v
    return reference_scan(current, v, dynamics)


def reference_scan(current: Tensor, v: Tensor, dynamics: _Dynamics) -> tuple[Tensor, Tensor]:
    """The same step by step in torch: any device and dtype, differentiated by autograd."""
    d, spikes = dynamics, []
    for step in current:
        u = d.decay * v + (d.gain * step + d.leak)
        s = spike(u - d.v_threshold, d.surrogate, d.slope)
        fired = s.detach()
        v = u - fired * d.v_threshold if d.v_reset is None else (1 - fired) * u + fired * d.v_reset
        spikes.append(s)
    return torch.stack(spikes), v


class _FusedScan(torch.autograd.Function):
    """Keeps only ``u`` for the backward pass: spikes and the surrogate's derivative follow from it."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, v: Tensor, dynamics: _Dynamics) -> tuple[Tensor, Tensor]:
        spikes, u, v = _fused_forward(current, v, dynamics)
        ctx.save_for_backward(u)
        ctx.dynamics = dynamics
        return spikes, v

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (u,), d = ctx.saved_tensors, ctx.dynamics
        grad_current, grad_v = torch.empty_like(u), grads[1].clone(memory_format=torch.contiguous_format)
        _kernels()[1](  # type: ignore[index]
            _rows(grads[0].contiguous()), _rows(u), _row(grad_v), _rows(grad_current),
            d.decay, d.gain, d.v_threshold, d.v_reset is None, _SURROGATE_NUMBERS[d.surrogate], d.slope,
        )  # fmt: skip
        return grad_current, grad_v, None


def _fused_forward(current: Tensor, v: Tensor, d: _Dynamics) -> tuple[Tensor, Tensor, Tensor]:
    current, v = current.detach().contiguous(), v.detach().clone(memory_format=torch.contiguous_format)
    spikes, u = torch.empty_like(current), torch.empty_like(current)
    _kernels()[0](  # type: ignore[index]
        _rows(current), _row(v), _rows(spikes), _rows(u),
        d.decay, d.gain, d.leak, d.v_threshold, d.v_reset is None, d.v_reset or 0.0,
    )  # fmt: skip
    return spikes, u, v


def _rows(x: Tensor) -> Any:
    return x.numpy().reshape(len(x), -1)


def _row(x: Tensor) -> Any:
    return x.numpy().reshape(-1)


@functools.cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]] | None:
    """The compiled forward and backward loops, cached on disk; None, with one log line, where numba cannot compile."""
    try:
        from snn4.policies._scan_kernels import backward, forward
    except (
        Exception
    ) as error:  # numba breaks in many ways (missing, wrong LLVM, read-only cache); none may stop training
        _log.warning("no compiler for the fused time loop (%s): using the plain one, which is slower", error)
        return None
    return forward, backward


def is_fused() -> bool:
    """Whether the compiled loop is there."""
    return _kernels() is not None
