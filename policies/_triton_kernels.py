"""Triton kernels of the time loop in `scan`, for GPUs: the operations of `_scan_kernels`, in the same order.

Arrays have rows (steps, N) of float32, bfloat16 or float16, where N is the number of neurons in the batch. States are
float32: (K, N) membranes, (N,) synapses and adaptations. A program runs all steps of one block of neurons, whose state
stays in registers. KP is K, rounded up to a power of two. A missing part has the pointer of another array, which is
not read. Triton reads annotations as its own, so there are none but ``tl.constexpr``.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def _advance(
    drive, v, i, a, decay, gain, leak, valid, scalars,
    K: tl.constexpr, SYNAPSE: tl.constexpr, ADAPTIVE: tl.constexpr, SPIKING: tl.constexpr, SOFT: tl.constexpr,
    SIGNED: tl.constexpr,
):  # fmt: skip
    """One step: spikes, or u where nothing spikes; distance to the threshold; membranes, synapse, adaptation."""
    syn_decay, syn_gain = tl.load(scalars), tl.load(scalars + 1)
    threshold, v_reset = tl.load(scalars + 2), tl.load(scalars + 3)
    adaptation, adapt_decay = tl.load(scalars + 4), tl.load(scalars + 5)
    if SYNAPSE:
        i = syn_decay * i + syn_gain * drive
        drive = i
    w = decay * v + (gain * drive[None, :] + leak)
    u = tl.sum(tl.where(valid, w, 0.0), 0)
    if K > 1:
        u = u / K
    distance = u
    spikes = u
    v = w
    if SPIKING:
        distance = u - threshold
        if ADAPTIVE:
            distance = u - (threshold + adaptation * a)
        fired = distance >= 0
        spikes = tl.where(fired, 1.0, 0.0)
        if SIGNED:
            taken = (u < 0) & (a > 0)
            spikes = tl.where(taken, -1.0, spikes)
            w = tl.where(taken[None, :], w + threshold, w)
        if SOFT:
            v = tl.where(fired[None, :], w - threshold, w)
        else:
            v = tl.where(fired[None, :], v_reset, w)
        if ADAPTIVE:
            a = adapt_decay * a + spikes
    return spikes, distance, v, i, a


@triton.jit  # type: ignore[untyped-decorator]
def _constants(decays, table, n, k, inside, valid, features, K: tl.constexpr, LEARNED: tl.constexpr):
    """Decay, gain and leak of each membrane."""
    decay = tl.load(table + k, mask=valid, other=0.0)
    if LEARNED:
        decay = tl.load(decays + n % features, mask=inside, other=0.0)[None, :]
    gain = tl.load(table + K + k, mask=valid, other=0.0)
    leak = tl.load(table + 2 * K + k, mask=valid, other=0.0)
    return decay, gain, leak


@triton.jit  # type: ignore[untyped-decorator]
def _loaded(v_from, i_from, a_from, place, n, valid, inside, i, a, SYNAPSE: tl.constexpr, ADAPTIVE: tl.constexpr):
    """Membranes, synapse and adaptation; ``i`` and ``a`` where there are none."""
    v = tl.load(v_from + place, mask=valid & inside[None, :], other=0.0)
    if SYNAPSE:
        i = tl.load(i_from + n, mask=inside, other=0.0)
    if ADAPTIVE:
        a = tl.load(a_from + n, mask=inside, other=0.0)
    return v, i, a


@triton.jit  # type: ignore[untyped-decorator]
def _store(v_to, i_to, a_to, place, n, valid, inside, v, i, a, SYNAPSE: tl.constexpr, ADAPTIVE: tl.constexpr):
    """Write what `_loaded` reads."""
    tl.store(v_to + place, v, mask=valid & inside[None, :])
    if SYNAPSE:
        tl.store(i_to + n, i, mask=inside)
    if ADAPTIVE:
        tl.store(a_to + n, a, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def forward(
    current, out, v_state, i_state, a_state, decays, table, scalars,
    v_rest, N, steps, features, CONSTANT: tl.constexpr, RESTED: tl.constexpr, K: tl.constexpr,
    KP: tl.constexpr, SYNAPSE: tl.constexpr, ADAPTIVE: tl.constexpr, LEARNED: tl.constexpr, SPIKING: tl.constexpr,
    SOFT: tl.constexpr, SIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill ``out``, and overwrite the first states with the last."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k = tl.arange(0, KP)[:, None]
    inside, valid = n < N, k < K
    place = k * N + n[None, :]
    decay, gain, leak = _constants(decays, table, n, k, inside, valid, features, K, LEARNED)
    v, i, a = tl.zeros([KP, BLOCK], tl.float32) + v_rest, tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    if not RESTED:
        v, i, a = _loaded(v_state, i_state, a_state, place, n, valid, inside, i, a, SYNAPSE, ADAPTIVE)
    for t in range(steps):
        now = tl.cast(t, tl.int64) * N  # more than 2^31 values
        drive = tl.load(current + (0 if CONSTANT else now) + n, mask=inside, other=0.0).to(tl.float32)
        spikes, _, v, i, a = _advance(
            drive, v, i, a, decay, gain, leak, valid, scalars, K, SYNAPSE, ADAPTIVE, SPIKING, SOFT, SIGNED
        )
        tl.store(out + now + n, spikes.to(out.dtype.element_ty), mask=inside)
    _store(v_state, i_state, a_state, place, n, valid, inside, v, i, a, SYNAPSE, ADAPTIVE)


@triton.jit  # type: ignore[untyped-decorator]
def _derivative(x, slope, SURROGATE: tl.constexpr):
    """The surrogate with this number in the order of `surrogate.SURROGATES`."""
    result = slope * 0.3989422804014327 * tl.exp(-0.5 * (slope * x) * (slope * x))
    if SURROGATE == 0:
        y = 1.5707963267948966 * slope * x
        result = slope * 0.5 / (1.0 + y * y)
    if SURROGATE == 1:
        s = 1.0 / (1.0 + tl.exp(-slope * x))
        result = slope * s * (1.0 - s)
    if SURROGATE == 2:
        y = 1.0 + slope * tl.abs(x)
        result = 1.0 / (y * y)
    if SURROGATE == 3:
        result = slope * tl.maximum(1.0 - slope * tl.abs(x), 0.0)
    if SURROGATE == 5:
        result = tl.where(slope * tl.abs(x) < 0.5, slope, 0.0)
    return result


@triton.jit  # type: ignore[untyped-decorator]
def _again(
    current, distances, before, sums, n, inside, v, i, a, decay, gain, leak, valid, scalars, N, steps,
    CONSTANT: tl.constexpr, K: tl.constexpr, SYNAPSE: tl.constexpr, ADAPTIVE: tl.constexpr, LEARNED: tl.constexpr,
    SPIKING: tl.constexpr, SOFT: tl.constexpr, SIGNED: tl.constexpr,
):  # fmt: skip
    """Run all steps into distances, before and sums (steps, N): what the way back needs of each step."""
    for t in range(steps):
        now = tl.cast(t, tl.int64) * N  # more than 2^31 values
        if LEARNED:
            tl.store(before + now + n, tl.sum(tl.where(valid, v, 0.0), 0), mask=inside)
        if SIGNED:
            tl.store(sums + now + n, a, mask=inside)
        drive = tl.load(current + (0 if CONSTANT else now) + n, mask=inside, other=0.0).to(tl.float32)
        _, x, v, i, a = _advance(
            drive, v, i, a, decay, gain, leak, valid, scalars, K, SYNAPSE, ADAPTIVE, SPIKING, SOFT, SIGNED
        )
        if SPIKING:
            tl.store(distances + now + n, x, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _through_spikes(
    grad_u, g, ga, distances, sums, inside, slope, scalars, SPIKING: tl.constexpr, SOFT: tl.constexpr,
    ADAPTIVE: tl.constexpr, SIGNED: tl.constexpr, SURROGATE: tl.constexpr,
):  # fmt: skip
    """Gradients of u and of the membranes before the reset, from those of the output and of the membranes after it."""
    through = g
    if SPIKING:
        threshold, adaptation, adapt_decay = tl.load(scalars + 2), tl.load(scalars + 4), tl.load(scalars + 5)
        x = tl.load(distances, mask=inside, other=0.0)
        if not SOFT:
            through = tl.where((x < 0)[None, :], g, 0.0)
        if ADAPTIVE:
            grad_u += ga
        derivative = _derivative(x, slope, SURROGATE)
        if SIGNED:  # the neuron can also take a spike back, at 0
            spiked = tl.load(sums, mask=inside, other=0.0) > 0
            derivative += tl.where(spiked, _derivative(x + threshold, slope, SURROGATE), 0.0)
        grad_u *= derivative
        if ADAPTIVE:
            ga = adapt_decay * ga - adaptation * grad_u
    return grad_u, through, ga


@triton.jit  # type: ignore[untyped-decorator]
def backward(
    grad_out, current, v_state, i_state, a_state, grad_v, grad_i, grad_a,
    grad_current, grad_decay, distances, before, sums, decays, table, scalars,
    v_rest, slope, N, steps, features, CONSTANT: tl.constexpr, RESTED: tl.constexpr,
    CARRIED: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, SYNAPSE: tl.constexpr, ADAPTIVE: tl.constexpr,
    LEARNED: tl.constexpr, SPIKING: tl.constexpr, SOFT: tl.constexpr, SIGNED: tl.constexpr, SURROGATE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill ``grad_current``; if ``CARRIED``, gradients of the last states become those of the first."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k = tl.arange(0, KP)[:, None]
    inside, valid = n < N, k < K
    place = k * N + n[None, :]
    decay, gain, leak = _constants(decays, table, n, k, inside, valid, features, K, LEARNED)
    v, i, a = tl.zeros([KP, BLOCK], tl.float32) + v_rest, tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    if not RESTED:
        v, i, a = _loaded(v_state, i_state, a_state, place, n, valid, inside, i, a, SYNAPSE, ADAPTIVE)
    _again(
        current, distances, before, sums, n, inside, v, i, a, decay, gain, leak, valid, scalars, N, steps, CONSTANT, K,
        SYNAPSE, ADAPTIVE, LEARNED, SPIKING, SOFT, SIGNED,
    )  # fmt: skip
    syn_decay, syn_gain = tl.load(scalars), tl.load(scalars + 1)
    g, gi, ga = tl.zeros([KP, BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    total, of_decay = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    if CARRIED:
        g, gi, ga = _loaded(grad_v, grad_i, grad_a, place, n, valid, inside, gi, ga, SYNAPSE, ADAPTIVE)
    for back in range(steps):
        now = tl.cast(steps - 1 - back, tl.int64) * N
        grad_u = tl.load(grad_out + now + n, mask=inside, other=0.0).to(tl.float32)
        grad_u, through, ga = _through_spikes(
            grad_u, g, ga, distances + now + n, sums + now + n, inside, slope, scalars, SPIKING, SOFT, ADAPTIVE,
            SIGNED, SURROGATE,
        )  # fmt: skip
        if K > 1:
            grad_u = grad_u / K
        grad_w = tl.where(valid, grad_u[None, :] + through, 0.0)
        if LEARNED:
            of_decay += tl.sum(grad_w, 0) * tl.load(before + now + n, mask=inside, other=0.0)
        grad_drive = tl.sum(gain * grad_w, 0)
        g = decay * grad_w
        if SYNAPSE:
            grad_drive += gi
            gi = syn_decay * grad_drive
            grad_drive = syn_gain * grad_drive
        if CONSTANT:
            total += grad_drive
        else:
            tl.store(grad_current + now + n, grad_drive.to(grad_current.dtype.element_ty), mask=inside)
    if CONSTANT:
        tl.store(grad_current + n, total.to(grad_current.dtype.element_ty), mask=inside)
    if LEARNED:
        tl.store(grad_decay + n, of_decay, mask=inside)
    if CARRIED:
        _store(grad_v, grad_i, grad_a, place, n, valid, inside, g, gi, ga, SYNAPSE, ADAPTIVE)
