"""The fused time loop: numba kernels on the memory of torch's tensors, with torch's number of threads."""

from __future__ import annotations

import functools
import itertools
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snn4.policies.surrogate import SURROGATES

if TYPE_CHECKING:
    from snn4.policies.dynamics import Dynamics, NeuronState

_SURROGATE_NUMBERS = {name: number for number, name in enumerate(SURROGATES)}
_WORTH_A_THREAD = 1 << 17
"""Number of neurons below which starting a thread takes longer than its work."""
_log = logging.getLogger(__name__)


def is_fused() -> bool:
    """Whether the compiled loop is available."""
    return _kernels() is not None


def fused_forward(
    current: Tensor, state: NeuronState, rest: float | None, decay: Tensor | None, d: Dynamics, steps: int
) -> Tensor:
    """Output (T, B, …). ``state`` is updated in place; it starts at ``rest``, or with None from its values."""
    c = _constants(d, decay is not None)
    current = current.detach().contiguous()
    out = current.new_empty(steps, *current.shape[1:])
    _spread(
        c.forward(), out[0].numel(), decay,
        _rows(current), _rows(out), *_state_rows(state, c.membranes), rest is not None, np.float32(rest or 0.0),
        c.decays if decay is None else _row(decay), c.gains, c.leaks, *c.scalars,
    )  # fmt: skip
    return out


def fused_backward(
    grad_out: Tensor, grad_state: NeuronState | None, current: Tensor, first: NeuronState | None, rest: float | None,
    decay: Tensor | None, d: Dynamics,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Gradients of the current and of a learned decay.

    ``grad_state`` is updated in place, from the gradient of the last state to that of the ``first``. The gradient of a
    constant current (one row) is the sum over all steps, in full precision.
    """
    c = _constants(d, decay is not None)
    grad_out, current = grad_out.contiguous(), current.detach().contiguous()
    zeros = functools.partial(torch.zeros, dtype=torch.float32, device="cpu")
    grad_current = zeros(current.shape) if len(current) == 1 else torch.empty_like(current)
    grad_decay = None if decay is None else zeros(current.shape[1:])
    _spread(
        c.backward(), grad_out[0].numel(), decay,
        _rows(grad_out), _rows(current), *_state_rows(first, c.membranes), first is None, np.float32(rest or 0.0),
        *_state_rows(grad_state, c.membranes), grad_state is not None, _rows(grad_current), _row(grad_decay),
        c.decays if decay is None else _row(decay), c.gains, c.leaks, *c.scalars, c.slope,
    )  # fmt: skip
    return grad_current.to(current.dtype), None if grad_decay is None else grad_decay.sum(0)


class _Constants(NamedTuple):
    """`Dynamics` in the format of the kernels: float32."""

    variant: Any
    membranes: int
    decays: tuple[np.float32, ...]
    gains: tuple[np.float32, ...]
    leaks: tuple[np.float32, ...]
    scalars: tuple[np.float32, ...]
    slope: np.float32

    def forward(self) -> Callable[..., None]:
        return _kernels()[0](self.variant._replace(surrogate=0))  # type: ignore[index]

    def backward(self) -> Callable[..., None]:
        return _kernels()[1](self.variant)  # type: ignore[index]


@functools.cache
def _constants(d: Dynamics, learned: bool) -> _Constants:
    from snn4.policies._scan_kernels import Variant

    kind = (len(d.decay), d.syn_decay is not None, d.adaptation is not None, learned, d.reset)
    scalars = (d.syn_decay or 0.0, d.syn_gain, d.v_threshold, d.v_reset, d.adaptation or 0.0, d.adapt_decay)
    decays, gains, leaks, numbers = (tuple(map(np.float32, values)) for values in (d.decay, d.gain, d.leak, scalars))
    variant = Variant(*kind, _SURROGATE_NUMBERS[d.surrogate], d.signed)
    return _Constants(variant, len(d.decay), decays, gains, leaks, numbers, np.float32(d.slope))


_NOTHING = np.zeros(1, np.float32)


def _rows(x: Tensor, rows: int | None = None) -> Any:
    """The memory of ``x`` as (rows, N); bfloat16 as its bits."""
    x = x.detach()
    bits = x.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else x.numpy()
    return bits.reshape(rows or len(x), -1)


def _state_rows(state: NeuronState | None, membranes: int) -> tuple[Any, Any, Any]:
    """The memory of membranes (K, N), synapse (N,) and adaptation (N,); `_NOTHING` for missing parts."""
    if state is None:
        return _NOTHING[None], _NOTHING, _NOTHING
    return _rows(state.v, membranes), _row(state.i), _row(state.a)


def _row(x: Tensor | None) -> Any:
    return _NOTHING if x is None else x.detach().contiguous().numpy().reshape(-1)


def _spread(kernel: Callable[..., None], neurons: int, decay: Tensor | None, *arguments: Any) -> None:
    """Run ``kernel`` over all blocks of neurons, with torch's number of threads if there are enough neurons."""
    from snn4.policies._scan_kernels import BLOCK

    features = (neurons if decay is None else decay.numel()) or 1
    units = neurons // features * -(-features // BLOCK)
    if neurons < _WORTH_A_THREAD:
        kernel(*arguments, features, 0, units)
    else:
        run_in_threads(kernel, units, *arguments, features)


def run_in_threads(kernel: Callable[..., None], units: int, *arguments: Any) -> None:
    """Run ``kernel(*arguments, first, last)`` over ``units`` of work, divided among torch's number of threads."""
    threads = min(torch.get_num_threads(), units)
    edges = [units * n // threads for n in range(threads + 1)]
    futures = [
        _pool(os.getpid()).submit(kernel, *arguments, first, last) for first, last in itertools.pairwise(edges[1:])
    ]
    kernel(*arguments, 0, edges[1])
    for future in futures:
        future.result()


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this ``process``, since a fork does not inherit threads."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="scan")


@functools.cache
def _kernels() -> tuple[Callable[..., Callable[..., None]], Callable[..., Callable[..., None]]] | None:
    """Factories of the compiled loops; None, with one log line, if numba cannot compile."""
    try:
        from snn4.policies._scan_kernels import backward_kernel, forward_kernel
    # numba can fail in many ways (missing, wrong LLVM, read-only cache), and no failure may stop training
    except Exception as error:
        _log.warning("no compiler for the fused time loop (%s): using the plain loop, which is slower", error)
        return None
    return forward_kernel, backward_kernel
