"""How the C library keeps memory: a third of the time of a large network's training on a CPU."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let glibc keep memory that is freed, for the whole process; True where that could be done (Linux with glibc).

    By default it gives every block over 32 MB back to the system when it is freed, and each page of the next one must
    be mapped and zeroed anew: activations of that size cost more time in that than in computing. The process then
    stays as large as it once was. This project's commands do this at their start; in a program of your own, call it
    before the first large tensor.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_M_TOP_PAD, 2**26))
