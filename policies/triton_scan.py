"""The fused time loop on GPUs: Triton kernels, with the signatures of `snn4.policies.fused`."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from snn4.policies import _triton_kernels as kernels
from snn4.policies.dynamics import Dynamics, NeuronState
from snn4.policies.surrogate import SURROGATES

BLOCK = 512
"""Neurons in a program. No kernel fuses a product with a sum, so sums round as on a CPU."""


def triton_forward(
    current: Tensor, state: NeuronState, rest: float | None, decay: Tensor | None, d: Dynamics, steps: int
) -> Tensor:
    """As `snn4.policies.fused.fused_forward`."""
    current = current.detach().contiguous()
    out = current.new_empty(steps, *current.shape[1:])
    n = current[0].numel()
    if n:
        kernels.forward[(-(-n // BLOCK),)](
            current, out, *_parts(state, out), _decays(decay, out), *_constants(d, current.device), float(rest or 0),
            n, steps, _features(decay), len(current) == 1, rest is not None, *_kind(d, decay), BLOCK,
            enable_fp_fusion=False,
        )  # fmt: skip
    return out


def triton_backward(
    grad_out: Tensor, grad_state: NeuronState | None, current: Tensor, first: NeuronState | None, rest: float | None,
    decay: Tensor | None, d: Dynamics,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """As `snn4.policies.fused.fused_backward`."""
    grad_out, current = grad_out.contiguous(), current.detach().contiguous()
    first = None if first is None else first.map(lambda part: part.detach().contiguous())
    steps, n = len(grad_out), current[0].numel()
    full = functools.partial(torch.empty, dtype=torch.float32, device=current.device)
    # The sum over the steps of a constant current is in full precision.
    grad_current = full(current.shape) if len(current) == 1 else torch.empty_like(current)
    grad_decay = None if decay is None else full(current.shape[1:])
    each = [full(steps if needed else 0, n) for needed in (d.reset != "none", decay is not None, d.signed)]
    if n:
        kernels.backward[(-(-n // BLOCK),)](
            grad_out, current, *_parts(first, current), *_parts(grad_state, current), grad_current,
            grad_current if grad_decay is None else grad_decay, *each, _decays(decay, current),
            *_constants(d, current.device), float(rest or 0), d.slope, n, steps, _features(decay), len(current) == 1,
            first is None, grad_state is not None, *_kind(d, decay), [*SURROGATES].index(d.surrogate), BLOCK,
            enable_fp_fusion=False,
        )  # fmt: skip
    return grad_current.to(current.dtype), None if grad_decay is None else grad_decay.sum(0)


def _parts(state: NeuronState | None, other: Tensor) -> tuple[Tensor, ...]:
    """Membranes, synapse and adaptation; ``other`` in place of missing parts."""
    return tuple(other if part is None else part for part in (state or (None,) * 3))


def _decays(decay: Tensor | None, other: Tensor) -> Tensor:
    return other if decay is None else decay.detach().contiguous()


def _features(decay: Tensor | None) -> int:
    return 1 if decay is None else max(decay.numel(), 1)


def _kind(d: Dynamics, decay: Tensor | None) -> tuple[Any, ...]:
    """K, KP, and which parts there are."""
    membranes = len(d.decay)
    parts = d.syn_decay is not None, d.adaptation is not None, decay is not None
    return (membranes, 1 << (membranes - 1).bit_length(), *parts, d.reset != "none", d.reset == "soft", d.signed)


@functools.cache
def _constants(d: Dynamics, device: torch.device) -> tuple[Tensor, Tensor]:
    """Decays, gains and leaks (3, K), and what all membranes share (6,)."""
    scalars = (d.syn_decay or 0.0, d.syn_gain, d.v_threshold, d.v_reset, d.adaptation or 0.0, d.adapt_decay)
    put = functools.partial(torch.tensor, dtype=torch.float32, device=device)
    return put((d.decay, d.gain, d.leak)), put(scalars)
