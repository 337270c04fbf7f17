"""The compiled decision: C, which the system's compiler builds once for each processor, or else numba."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from snn4.policies.engine.plain import Floats, Layer, Present

KernelName = Literal["c", "numba"]
SOURCE = Path(__file__).with_name("decide.c")
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fPIC", "-shared")
"""Without contraction, sums round as numba's do."""
_log = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """Memory for decisions of one size of batch, and the function that decides in it."""

    states: tuple[Floats, ...]
    """(rows, B, n) of each layer."""
    out: Floats
    """(B, n): the decoded spikes of the last layer."""
    decide: Callable[[Floats, bool], None]
    """``decide(signal (1 or T, B, n_in), carry)`` fills ``out``; with ``carry`` it starts from ``states``."""


def prepare(layers: Sequence[Layer], decoder: Floats, batch: int, kernel: KernelName | None = None) -> Prepared:
    """Memory for ``batch`` observations at once, and its ``kernel``; None takes C where there is a compiler.

    Args:
        layers: synapses and neurons. Arrays may change their values later, but not their place, and weights not at all.
        decoder: (T,), the weight of the last layer's spikes at each step.
    """
    states = tuple(np.empty((layer.rows, batch, len(layer.bias)), np.float32) for layer in layers)
    out = np.empty((batch, len(layers[-1].bias)), np.float32)
    function = None if kernel == "numba" else c_function()
    if function is None and kernel == "c":
        raise OSError("kernel: got c, but there is no C compiler that works; allowed is numba, or install one (cc)")
    if function is None:
        present: Any = tuple(zip(*(Present.of(layer.weights) for layer in layers), strict=True))
        return Prepared(states, out, partial(_by_numba, layers, present, decoder, states, out))
    return Prepared(states, out, _CCall(function, layers, decoder, batch, states, out))


@cache
def c_function() -> Any:
    """``snn4_decide`` of `SOURCE`; None if it cannot be compiled, which the log then says."""
    try:
        library = _library()
        if not library.is_file():
            _compile(library)
        function = ctypes.PyDLL(str(library)).snn4_decide  # keeps the GIL: a decision is shorter than its release
    except (OSError, AttributeError) as error:
        _log.info("decisions run in numba, which takes longer to import: %s", error)
        return None
    number, address = ctypes.c_int64, ctypes.c_void_p
    function.argtypes = (address, number, number, number, address, number, address, address, address, address, number,
                         number)  # fmt: skip
    function.restype = None
    return function


def _library() -> Path:
    """The file of the compiled code in the user's cache, for this source on this processor."""
    import hashlib

    content = hashlib.sha256(SOURCE.read_bytes() + repr((FLAGS, sys.platform, _processor())).encode()).hexdigest()
    home = os.environ.get("SNN4_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "snn4-agent" / f"decide-{content[:16]}.so"


def _processor() -> str:
    """What code for this processor depends on."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return os.uname().machine if hasattr(os, "uname") else ""


def _compile(library: Path) -> None:
    """Compile `SOURCE` into ``library``, completely or not at all; OSError without a compiler that can."""
    import shlex
    import subprocess
    import tempfile

    library.parent.mkdir(parents=True, exist_ok=True)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    problem = ""
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".decide-") as place:
        made = Path(place) / library.name
        for native in (("-march=native",), ()):  # not all compilers know it for all processors
            command = [*compiler, *FLAGS, *native, str(SOURCE), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                made.replace(library)
                return
            problem = " ".join(done.stderr.split())[:200]
    raise OSError(f"{compiler[0]} cannot compile {SOURCE.name} ({problem})")


class _CLayer(ctypes.Structure):
    """``Layer`` of decide.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("inputs", "width", "membranes", "synapse", "adaptive", "hard")),
        *((name, ctypes.c_float) for name in ("syn_decay", "syn_gain", "threshold", "v_reset", "adaptation",
                                              "adapt_decay", "rest")),
        *((name, ctypes.c_void_p) for name in ("weights", "bias", "decay", "gain", "leak", "state", "starts", "targets",
                                               "values")),
    )  # fmt: skip


class _CCall:
    """Calls decide.c with the addresses of arrays, all of which it keeps."""

    def __init__(
        self, function: Any, layers: Sequence[Layer], decoder: Floats, batch: int, states: tuple[Floats, ...],
        out: Floats,
    ) -> None:  # fmt: skip
        widest = max(len(layer.bias) for layer in layers)
        buffers = (decoder, out, np.empty((2, widest), np.float32), np.empty((2, widest), np.int64))
        present = [Present.of(layer.weights) for layer in layers]
        self.kept = (layers, present, states, buffers)
        self.layers = (_CLayer * len(layers))(*map(_c_layer, layers, present, states))
        self.before = (ctypes.addressof(self.layers), len(layers), len(decoder), batch)
        addresses = (array.ctypes.data for array in buffers)
        self.after = (*addresses, widest)
        self.function = function

    def __call__(self, signal: Floats, carry: bool) -> None:
        address = signal.__array_interface__["data"][0]  # a third of the time of signal.ctypes.data
        self.function(*self.before, address, len(signal), *self.after, carry)


def _c_layer(layer: Layer, present: Present, state: Floats) -> _CLayer:
    membranes, synapse, adaptive, hard = (int(flag) for flag in layer.flags)
    rows = present if len(present.starts) else ()
    addresses = [array.ctypes.data for array in (*layer[:5], state, *rows)]
    return _CLayer(*layer.weights.shape, membranes, synapse, adaptive, hard, *layer.constants, layer.rest, *addresses)


def _by_numba(
    layers: Sequence[Layer], present: Any, decoder: Floats, states: tuple[Floats, ...], out: Floats, signal: Floats,
    carry: bool,
) -> None:  # fmt: skip
    from snn4.policies.engine._event_kernels import decide

    if not carry:
        for layer, state in zip(layers, states, strict=True):
            state[:] = 0
            state[: layer.flags[0]] = layer.rest
    out[:] = 0
    weights, biases, decays, gains, leaks, constants, flags, _ = zip(*layers, strict=True)
    record = tuple(np.zeros((0, 0, 0), np.bool_) for _ in layers)
    decide(  # type: ignore[call-arg]
        signal, len(decoder), weights, *present, biases, decays, gains, leaks, np.array(constants),
        np.array(flags), states, decoder, out, record,
    )  # fmt: skip
