"""numba kernels of `qcfs.QuantizedReLU`: one pass over memory where torch takes eight.

Arrays have rows (n, C) of float32: one column for each channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def forward(x: Any, size: Any, levels: Any, out: Any, first: int, last: int) -> None:
    """Fill rows ``first`` to ``last`` of ``out`` with the quantized values."""
    for n in range(first, last):
        for c in range(x.shape[1]):
            step = size[c] / levels
            level = np.floor(x[n, c] / step + np.float32(0.5))
            out[n, c] = min(max(level, np.float32(0.0)), levels) * step


@njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def backward(x: Any, size: Any, levels: Any, grad: Any, grad_x: Any, grad_size: Any, first: int, last: int) -> None:
    """Gradients as if the floor were the identity; that of the size is added to blocks ``first`` to ``last`` (·, C)."""
    rows = -(-len(x) // len(grad_size))
    zero, one = np.float32(0.0), np.float32(1.0)
    for block in range(first, last):
        total = grad_size[block]
        for n in range(block * rows, min(block * rows + rows, len(x))):
            for c in range(x.shape[1]):
                u = x[n, c] / size[c]
                inside = zero < u < one
                level = min(max(np.floor(u * levels + np.float32(0.5)), zero), levels) / levels
                grad_x[n, c] = grad[n, c] if inside else zero
                total[c] += grad[n, c] * (level - u if inside else level)
