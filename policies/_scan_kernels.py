"""numba kernels of the time loop in `scan`, one pair per variant, compiled on first use and cached on disk.

Arrays have rows (steps, N) of float32 or bfloat16 (as uint16), where N is the number of neurons in the batch. States
are always float32. Constants are cast to float32, and operations have the same order as in the plain loop, so spikes
are the same. The kernels run all steps of one block of neurons before the next block, so the state of a block
stays in the L1 cache.
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
"""Neurons per unit of work."""


class Variant(NamedTuple):
    """Constants of a compiled kernel, which it would otherwise check for every neuron and step."""

    membranes: int
    synapse: bool
    adaptive: bool
    per_feature: bool
    """Whether each value of a sample has its own learned decay."""
    reset: str
    """soft, hard, or none for a neuron that does not spike."""
    surrogate: int
    signed: bool


@functools.cache
def forward_kernel(variant: Variant) -> Callable[..., None]:
    """A kernel that fills ``out`` and overwrites the first states with the last; if ``rested``, it starts at rest."""
    membranes, synapse, adaptive, per_feature, reset, _, signed = variant
    spiking, soft = reset != "none", reset == "soft"

    @njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
    def forward(
        current: Any, out: Any, v: Any, i: Any, a: Any, rested: bool, v_rest: Any, decay: Any, gain: Any, leak: Any,
        syn_decay: Any, syn_gain: Any, threshold: Any, v_reset: Any, adaptation: Any, adapt_decay: Any,
        features: int, first: int, last: int,
    ) -> None:  # fmt: skip
        rows, blocks = len(current), (features + BLOCK - 1) // BLOCK
        for unit in range(first, last):
            sample, low = unit // blocks, unit % blocks * BLOCK
            high = min(low + BLOCK, features)
            start, stop = sample * features + low, sample * features + high
            i_s, a_s = i[start:stop] if synapse else i, a[start:stop] if adaptive else a
            d_s = decay[low:high] if per_feature else decay
            if rested:
                v[:, start:stop] = v_rest
                i_s[:] = 0
                a_s[:] = 0
            for t in range(len(out)):
                _advance(
                    current[t if rows > 1 else 0, start:stop], out[t, start:stop], v, start, i_s, a_s,
                    d_s, gain, leak, syn_decay, syn_gain, threshold, v_reset, adaptation, adapt_decay,
                    membranes, synapse, adaptive, per_feature, spiking, soft, signed, False,
                )  # fmt: skip

    return forward  # type: ignore[no-any-return]


@functools.cache
def backward_kernel(variant: Variant) -> Callable[..., None]:
    """A kernel that fills ``grad_current``; if ``carried``, gradients of the last states become those of the first.

    It runs all steps of a block again, which takes as long as storing and reading their results, and needs only the
    inputs. The gradient of a constant current (one row) is the sum over all steps. With a learned decay, its gradient
    is added to ``grad_decay`` (N,).
    """
    membranes, synapse, adaptive, per_feature, reset, surrogate, signed = variant
    spiking, soft = reset != "none", reset == "soft"

    @njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
    def backward(
        grad_out: Any, current: Any, v: Any, i: Any, a: Any, rested: bool, v_rest: Any,
        grad_v: Any, grad_i: Any, grad_a: Any, carried: bool, grad_current: Any, grad_decay: Any,
        decay: Any, gain: Any, leak: Any, syn_decay: Any, syn_gain: Any, threshold: Any, v_reset: Any,
        adaptation: Any, adapt_decay: Any, slope: Any, features: int, first: int, last: int,
    ) -> None:  # fmt: skip
        steps, rows = len(grad_out), len(current)
        blocks = (features + BLOCK - 1) // BLOCK
        # These stay in the cache for a block: state, gradient, and for each step the distances, the previous membrane
        # and the previous sum of spikes.
        state, gradient = np.empty((membranes + 2, BLOCK), np.float32), np.empty((membranes + 2, BLOCK), np.float32)
        x = np.empty((steps if spiking else 1, BLOCK), np.float32)
        before = np.empty((steps if per_feature else 1, BLOCK), np.float32)
        sums = np.empty((steps if signed else 1, BLOCK), np.float32)
        for unit in range(first, last):
            sample, low = unit // blocks, unit % blocks * BLOCK
            high = min(low + BLOCK, features)
            start, n = sample * features + low, high - low
            d_s = decay[low:high] if per_feature else decay
            if spiking or per_feature:
                _fetch(state, v, i, a, start, n, not rested, v_rest, membranes, synapse, adaptive)
                for t in range(steps):
                    if per_feature:
                        before[t, :n] = state[0, :n]
                    if signed:
                        sums[t, :n] = state[membranes + 1, :n]
                    _advance(
                        current[t if rows > 1 else 0, start : start + n], x[t if spiking else 0], state, 0,
                        state[membranes], state[membranes + 1], d_s, gain, leak, syn_decay, syn_gain, threshold,
                        v_reset, adaptation, adapt_decay,
                        membranes, synapse, adaptive, per_feature, spiking, soft, signed, True,
                    )  # fmt: skip
            _fetch(gradient, grad_v, grad_i, grad_a, start, n, carried, np.float32(0.0), membranes, synapse, adaptive)
            for t in range(steps - 1, -1, -1):
                _retreat(
                    grad_out[t, start : start + n], x[t if spiking else 0], before[t if per_feature else 0],
                    sums[t if signed else 0], gradient, grad_current[t if rows > 1 else 0, start : start + n],
                    grad_decay[start : start + n] if per_feature else grad_decay,
                    d_s, gain, syn_decay, syn_gain, threshold, adaptation, adapt_decay, slope,
                    membranes, synapse, adaptive, per_feature, spiking, soft, signed, rows, surrogate,
                )  # fmt: skip
            if carried:
                grad_v[:, start : start + n] = gradient[:membranes, :n]
                if synapse:
                    grad_i[start : start + n] = gradient[membranes, :n]
                if adaptive:
                    grad_a[start : start + n] = gradient[membranes + 1, :n]

    return backward  # type: ignore[no-any-return]


@njit(error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _fetch(
    into: Any, v: Any, i: Any, a: Any, start: int, n: int, given: bool, v_rest: Any,
    membranes: int, synapse: bool, adaptive: bool,
) -> None:  # fmt: skip
    """Copy a block of states, membranes first; at rest if none is given."""
    into[:membranes], into[membranes:] = v_rest, 0
    if given:
        into[:membranes, :n] = v[:, start : start + n]
        if synapse:
            into[membranes, :n] = i[start : start + n]
        if adaptive:
            into[membranes + 1, :n] = a[start : start + n]


@njit(error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _advance(
    current: Any, out: Any, v: Any, base: int, i: Any, a: Any, decay: Any, gain: Any, leak: Any,
    syn_decay: Any, syn_gain: Any, threshold: Any, v_reset: Any, adaptation: Any, adapt_decay: Any,
    membranes: int, synapse: bool, adaptive: bool, per_feature: bool, spiking: bool, soft: bool, signed: bool,
    distances: bool,
) -> None:  # fmt: skip
    """One step of a block with membranes from ``base`` on; ``out`` gets spikes, or ``distances`` to the threshold."""
    zero, one = np.float32(0.0), np.float32(1.0)
    count = np.float32(membranes)
    v0 = v[0, base : base + len(current)]
    for m in range(len(current)):
        drive = _load(current[m])
        if synapse:
            drive = syn_decay * i[m] + syn_gain * drive
            i[m] = drive
        u = (decay[m] if per_feature else decay[0]) * v0[m] + (gain[0] * drive + leak[0])
        w0 = u
        if membranes > 1:
            for k in range(1, membranes):
                w = decay[k] * v[k, base + m] + (gain[k] * drive + leak[k])
                v[k, base + m] = w
                u += w
            u = u / count
        if not spiking:
            v0[m] = w0
            out[m] = _store(u, out[m])
            continue
        distance = u - (threshold + adaptation * a[m] if adaptive else threshold)
        fired = distance >= zero
        spike = one if fired else zero
        if signed and u < zero and a[m] > zero:
            spike = -one
            w0 = w0 + threshold
        v0[m] = (w0 - threshold if soft else v_reset) if fired else w0
        if membranes > 1:
            for k in range(1, membranes):
                w = v[k, base + m]
                v[k, base + m] = (w - threshold if soft else v_reset) if fired else w
        if adaptive:
            a[m] = adapt_decay * a[m] + spike
        out[m] = _store(distance if distances else spike, out[m])


@njit(error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _retreat(
    grad_out: Any, x: Any, before: Any, sums: Any, gradient: Any, grad_current: Any, grad_decay: Any,
    decay: Any, gain: Any, syn_decay: Any, syn_gain: Any, threshold: Any, adaptation: Any, adapt_decay: Any,
    slope: Any, membranes: int, synapse: bool, adaptive: bool, per_feature: bool, spiking: bool, soft: bool,
    signed: bool, rows: int, surrogate: int,
) -> None:  # fmt: skip
    """One step of a block backward: from the gradient of its output to that of its current; ``x`` are distances."""
    zero, count = np.float32(0.0), np.float32(membranes)
    g0 = gradient[0]
    gi, ga = gradient[membranes], gradient[membranes + 1]
    for m in range(len(grad_out)):
        grad_u = _load(grad_out[m])
        kept = True
        if spiking:
            kept = soft or x[m] < zero
            if adaptive:
                grad_u += ga[m]
            derivative = _derivative(x[m], surrogate, slope)
            if signed and sums[m] > zero:  # the neuron can also take a spike back, at 0
                derivative += _derivative(x[m] + threshold, surrogate, slope)
            grad_u *= derivative
            if adaptive:
                ga[m] = adapt_decay * ga[m] - adaptation * grad_u
        if membranes > 1:
            grad_u = grad_u / count
        grad_w = grad_u + (g0[m] if kept else zero)
        if per_feature:
            grad_decay[m] += grad_w * before[m]
        grad_drive = gain[0] * grad_w
        g0[m] = (decay[m] if per_feature else decay[0]) * grad_w
        if membranes > 1:
            for k in range(1, membranes):
                grad_w = grad_u + (gradient[k, m] if kept else zero)
                grad_drive += gain[k] * grad_w
                gradient[k, m] = decay[k] * grad_w
        if synapse:
            grad_drive += gi[m]
            gi[m] = syn_decay * grad_drive
            grad_drive = syn_gain * grad_drive
        if rows > 1:
            grad_current[m] = _store(grad_drive, grad_current[m])
        else:
            grad_current[m] = _store(_load(grad_current[m]) + grad_drive, grad_current[m])


def _load(value: Any) -> Any:
    """float32 of a float32, or of the bits of a bfloat16."""


@overload(_load, inline="always")  # type: ignore[untyped-decorator]
def _load_overload(value: Any) -> Any:
    # numba requires the implementations to have the annotations of the function.
    def from_bfloat16(value: Any) -> Any:
        return np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)

    def same(value: Any) -> Any:
        return value

    return from_bfloat16 if value == types.uint16 else same


def _store(value: Any, like: Any) -> Any:
    """``value`` in the type of ``like``: float32, or the bits of the nearest bfloat16, with the same sign."""


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
    """The surrogate with number ``surrogate`` in the order of `surrogate.SURROGATES`."""
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
    if surrogate == 5:
        return slope if slope * abs(x) < half else np.float32(0.0)
    y = slope * x
    return slope * np.float32(1 / math.sqrt(2 * math.pi)) * np.exp(-half * y * y)
