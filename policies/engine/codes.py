"""The codes of `snn4.policies.coding` in NumPy, for acting: the same spikes without torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from snn4.policies.engine.plain import Code, Floats


def encode(code: Code, x: Floats, T: int) -> Floats:
    """The signal (1 or T, B, n_out) of values ``x`` (B, n)."""
    if code.kind == "direct":
        return x[None]
    if code.kind == "population":
        return population(x, code.first, code.second, T)
    p = ((x - code.first) / (code.second - code.first)).clip(0, 1)
    return _OF_FRACTIONS[code.kind](p, T, code.options)  # type: ignore[no-any-return]


def population(x: Floats, centres: Floats, log_widths: Floats, T: int) -> Floats:
    """Spikes (T, B, n * fields) of integrate-and-fire neurons that Gaussian receptive fields (n, fields) drive."""
    distance = (x[..., None] - centres) * np.exp(-log_widths)
    activity = np.exp(np.float32(-0.5) * (distance * distance)).reshape(len(x), -1)
    spikes, v = np.empty((T, *activity.shape), np.float32), np.full_like(activity, 0.5)
    for t in range(T):
        v += activity
        spikes[t] = v >= 1
        v -= spikes[t]
    return spikes


def _rate(p: Floats, T: int, options: dict[str, Any]) -> Floats:
    # Without resets, the floor of a membrane is its number of spikes so far.
    membrane = np.arange(T + 1, dtype=np.float32)[:, None, None] * p + np.float32(0.5)
    return np.diff(np.floor(membrane), axis=0)


def _latency(p: Floats, T: int, options: dict[str, Any]) -> Floats:
    step = np.floor((1 - p) * np.float32(T) + np.float32(0.5)).clip(max=T - 1)
    return ((_steps(T) == step) & (p >= np.float32(options["latency_threshold"]))).astype(np.float32)


def _delta(p: Floats, T: int, options: dict[str, Any]) -> Floats:
    threshold = options["delta_threshold"]
    distance = (p - np.float32(0.5)) * np.float32(2 * T if threshold is None else 1 / threshold)
    step = _steps(T) + 1
    return np.concatenate([distance - step >= 0, -distance - step >= 0], -1).astype(np.float32)


def _phase(p: Floats, T: int, options: dict[str, Any]) -> Floats:
    period = int(options["period"])
    levels = 2**period
    number = np.floor(p * np.float32(levels)).clip(max=levels - 1)
    return np.floor(number / np.float32(2) ** (period - 1 - _steps(T) % period)) % 2  # type: ignore[no-any-return]


def _steps(T: int) -> Floats:
    return np.arange(T, dtype=np.float32)[:, None, None]


_OF_FRACTIONS = {"rate": _rate, "latency": _latency, "delta": _delta, "phase": _phase}
