"""numba kernels of the time loop in `scan`, one pair for each variant, compiled on first use and cached on disk.

Arrays are float32 or bfloat16 (as uint16): rows (steps, N), where N counts every neuron of the batch; states are always
float32. Constants are cast to float32 and operations ordered as in the plain loop, so that spikes are equal to the bit.
Work goes block by block, all steps of a block before the next: a block's state stays in the processor's first cache.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

BLOCK = 1024
"""Neurons of one unit of work."""


class Variant(NamedTuple):
    """What is compiled into a kernel: everything that would otherwise be asked for at every neuron and step."""

    membranes: int
    synapse: bool
    adaptive: bool
    per_feature: bool
    """Each of the M values of a sample has a decay of its own, learned."""
    reset: str
    """soft, hard, or none, where the neuron does not spike."""
    surrogate: int


@functools.cache
def forward_kernel(variant: Variant, save: bool) -> Callable[..., None]:  # noqa: C901 (constants choose the branches)
    """Fills ``out`` and, if ``save``, ``x`` (membrane minus threshold); states go in as first and come out as last."""
    membranes, synapse, adaptive, per_feature, reset, _ = variant
    spiking, soft = reset != "none", reset == "soft"

    @njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
    def forward(
        current: Any, v: Any, i: Any, a: Any, out: Any, x: Any, decay: Any, gain: Any, leak: Any,
        syn_decay: Any, syn_gain: Any, threshold: Any, v_reset: Any, adaptation: Any, adapt_decay: Any,
        features: int, first: int, last: int,
    ) -> None:  # fmt: skip
        steps, rows = len(out), len(current)
        blocks = (features + BLOCK - 1) // BLOCK
        zero, one, count = np.float32(0.0), np.float32(1.0), np.float32(membranes)
        for unit in range(first, last):
            sample, block = unit // blocks, unit % blocks
            low, high = block * BLOCK, min(block * BLOCK + BLOCK, features)
            start, stop = sample * features + low, sample * features + high
            v0 = v[0, start:stop]
            i_s = i[start:stop] if synapse else i
            a_s = a[start:stop] if adaptive else a
            d_s = decay[low:high] if per_feature else decay
            for t in range(steps):
                c_t = current[t if rows > 1 else 0, start:stop]
                o_t = out[t, start:stop]
                x_t = x[t, start:stop] if save else x[0]
                for m in range(stop - start):
                    drive = _load(c_t[m])
                    if synapse:
                        drive = syn_decay * i_s[m] + syn_gain * drive
                        i_s[m] = drive
                    u = (d_s[m] if per_feature else decay[0]) * v0[m] + (gain[0] * drive + leak[0])
                    w0 = u
                    if membranes > 1:
                        for k in range(1, membranes):
                            w = decay[k] * v[k, start + m] + (gain[k] * drive + leak[k])
                            v[k, start + m] = w
                            u += w
                        u = u / count
                    if not spiking:
                        v0[m] = w0
                        o_t[m] = _store(u, o_t[m])
                        continue
                    distance = u - (threshold + adaptation * a_s[m] if adaptive else threshold)
                    fired = distance >= zero
                    v0[m] = (w0 - threshold if soft else v_reset) if fired else w0
                    if membranes > 1:
                        for k in range(1, membranes):
                            w = v[k, start + m]
                            v[k, start + m] = (w - threshold if soft else v_reset) if fired else w
                    if adaptive:
                        a_s[m] = adapt_decay * a_s[m] + (one if fired else zero)
                    o_t[m] = _store(one if fired else zero, o_t[m])
                    if save:
                        x_t[m] = _store(distance, x_t[m])

    return forward  # type: ignore[no-any-return]


@functools.cache
def backward_kernel(variant: Variant) -> Callable[..., None]:  # noqa: C901
    """Fills ``grad_current``; gradients of the last states go in and those of the first come out.

    A constant current (one row) collects the gradients of all steps. With a learned decay, ``grad_decay`` (N,) collects
    its gradient and ``v_first`` is the first membrane.
    """
    membranes, synapse, adaptive, per_feature, reset, surrogate = variant
    spiking, soft = reset != "none", reset == "soft"

    @njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
    def backward(  # noqa: C901
        grad_out: Any, x: Any, grad_v: Any, grad_i: Any, grad_a: Any, grad_current: Any, grad_decay: Any, v_first: Any,
        decay: Any, gain: Any, syn_decay: Any, syn_gain: Any, threshold: Any, v_reset: Any,
        adaptation: Any, adapt_decay: Any, slope: Any, features: int, first: int, last: int,
    ) -> None:  # fmt: skip
        steps, rows = len(grad_out), len(grad_current)
        blocks = (features + BLOCK - 1) // BLOCK
        zero, count = np.float32(0.0), np.float32(membranes)
        for unit in range(first, last):
            sample, block = unit // blocks, unit % blocks
            low, high = block * BLOCK, min(block * BLOCK + BLOCK, features)
            start, stop = sample * features + low, sample * features + high
            g0 = grad_v[0, start:stop]
            gi_s = grad_i[start:stop] if synapse else grad_i
            ga_s = grad_a[start:stop] if adaptive else grad_a
            gd_s = grad_decay[start:stop] if per_feature else grad_decay
            v0_s = v_first[start:stop] if per_feature else v_first
            d_s = decay[low:high] if per_feature else decay
            for t in range(steps - 1, -1, -1):
                g_t = grad_out[t, start:stop]
                x_t = x[t, start:stop] if spiking else x[0]
                before = x[t - 1 if t > 0 else 0, start:stop] if spiking else x[0]
                gc_t = grad_current[t if rows > 1 else 0, start:stop]
                for m in range(stop - start):
                    grad_u = _load(g_t[m])
                    kept = True
                    if spiking:
                        distance = _load(x_t[m])
                        kept = soft or distance < zero
                        if adaptive:
                            grad_u += ga_s[m]
                        grad_u *= _derivative(distance, surrogate, slope)
                        if adaptive:
                            ga_s[m] = adapt_decay * ga_s[m] - adaptation * grad_u
                    if membranes > 1:
                        grad_u = grad_u / count
                    grad_w = grad_u + (g0[m] if kept else zero)
                    if per_feature:
                        v = v0_s[m]
                        if t > 0:
                            y = _load(before[m])
                            v = y + threshold if y < zero else (y if soft else v_reset)
                        gd_s[m] += grad_w * v
                    grad_drive = gain[0] * grad_w
                    g0[m] = (d_s[m] if per_feature else decay[0]) * grad_w
                    if membranes > 1:
                        for k in range(1, membranes):
                            grad_w = grad_u + (grad_v[k, start + m] if kept else zero)
                            grad_drive += gain[k] * grad_w
                            grad_v[k, start + m] = decay[k] * grad_w
                    if synapse:
                        grad_drive += gi_s[m]
                        gi_s[m] = syn_decay * grad_drive
                        grad_drive = syn_gain * grad_drive
                    if rows > 1:
                        gc_t[m] = _store(grad_drive, gc_t[m])
                    else:
                        gc_t[m] = _store(_load(gc_t[m]) + grad_drive, gc_t[m])

    return backward  # type: ignore[no-any-return]


def _load(value: Any) -> Any:
    """float32 of a float32, or of the bits of a bfloat16."""


@overload(_load, inline="always")  # type: ignore[untyped-decorator]
def _load_overload(value: Any) -> Any:
    # numba wants the annotations of the implementations to be those of the function.
    def from_bfloat16(value: Any) -> Any:
        return np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)

    def same(value: Any) -> Any:
        return value

    return from_bfloat16 if value == types.uint16 else same


def _store(value: Any, like: Any) -> Any:
    """``value`` in the type of ``like``: itself, or the bits of the nearest bfloat16, of the same sign."""


@overload(_store, inline="always")  # type: ignore[untyped-decorator]
def _store_overload(value: Any, like: Any) -> Any:
    def to_bfloat16(value: Any, like: Any) -> Any:
        bits = np.float32(value).view(np.uint32)
        rounded = np.uint32(bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
        return np.uint16(rounded >> np.uint32(16))

    def same(value: Any, like: Any) -> Any:
        return value

    return to_bfloat16 if like == types.uint16 else same


@njit(cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _derivative(x: Any, surrogate: int, slope: Any) -> Any:
    """The surrogates of `surrogate.SURROGATES`, numbered in their order."""
    one, half = np.float32(1.0), np.float32(0.5)
    if surrogate == 0:
        y = np.float32(math.pi / 2) * slope * x
        return slope * half / (one + y * y)
    if surrogate == 1:
        s = one / (one + np.exp(-slope * x))
        return slope * s * (one - s)
    if surrogate == 2:
        y = one + slope * abs(x)
        return one / (y * y)
    if surrogate == 3:
        return slope * max(np.float32(0.0), one - slope * abs(x))
    y = slope * x
    return slope * np.float32(1 / math.sqrt(2 * math.pi)) * np.exp(-half * y * y)
