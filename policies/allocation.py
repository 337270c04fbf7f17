"""Memory allocation by the C library, a third of the time of training a large network on a CPU."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory, for the whole process; True if that is possible (Linux with glibc).

    By default, glibc returns every freed block over 32 MB to the system, and each page of the next block must be mapped
    and zeroed again. For activations of that size, this takes more time than the computation. The price is that the
    process never shrinks. This project's commands call this function when they start; call it in your own program
    before the first large tensor.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_M_TOP_PAD, 2**26))
