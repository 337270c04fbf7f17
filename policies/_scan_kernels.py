"""numba kernels of the time loop in `scan`. Imported on first use: compiling takes a second once, then it is cached.

Arrays are float32: rows (T, N), one row (N,). Constants are cast to float32, so that the arithmetic is that of torch.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float32]


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def forward(
    current: Array, v: Array, spikes: Array, u: Array,
    decay: float, gain: float, leak: float, v_threshold: float, soft: bool, v_reset: float,
) -> None:  # fmt: skip
    """Fills ``spikes`` and ``u``; ``v`` is the first membrane on entry and the last on return."""
    a, g, c = np.float32(decay), np.float32(gain), np.float32(leak)
    threshold, rest = np.float32(v_threshold), np.float32(v_reset)
    steps, neurons = current.shape
    for t in range(steps):
        for i in range(neurons):
            x = a * v[i] + (g * current[t, i] + c)
            u[t, i] = x
            fired = x >= threshold
            spikes[t, i] = np.float32(1.0) if fired else np.float32(0.0)
            if soft:
                v[i] = x - threshold if fired else x
            else:
                v[i] = rest if fired else x


@njit(cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _derivative(x: np.float32, surrogate: int, slope: np.float32) -> np.float32:
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


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def backward(
    grad_spikes: Array, u: Array, grad_v: Array, grad_current: Array,
    decay: float, gain: float, v_threshold: float, soft: bool, surrogate: int, slope: float,
) -> None:  # fmt: skip
    """Fills ``grad_current``; ``grad_v`` is the last membrane's gradient on entry and the first's on return."""
    a, g, zero = np.float32(decay), np.float32(gain), np.float32(0.0)
    threshold, steepness = np.float32(v_threshold), np.float32(slope)
    steps, neurons = u.shape
    for t in range(steps - 1, -1, -1):
        for i in range(neurons):
            x = u[t, i] - threshold
            kept = grad_v[i] if soft or x < zero else zero
            grad_u = grad_spikes[t, i] * _derivative(x, surrogate, steepness) + kept
            grad_current[t, i] = g * grad_u
            grad_v[i] = a * grad_u
