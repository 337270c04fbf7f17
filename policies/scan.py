"""The time loop of a layer of neurons over (T, B, …): one fused kernel on CPUs, a plain loop everywhere else.

Both compute, for every neuron and step, with `Dynamics`' constants::

    i[t]   = syn_decay * i[t-1] + syn_gain * I[t]                   the current itself where there is no synapse
    u_k[t] = decay_k * v_k[t-1] + (gain_k * i[t] + leak_k)          one membrane, or several time constants
    u[t]   = mean_k u_k[t]
    x[t]   = u[t] - (v_threshold + adaptation * a[t-1])
    s[t]   = 1 if x[t] >= 0 else 0                                  the output; u[t] itself where reset is none
    v_k[t] = u_k[t] - s[t] * v_threshold                            reset soft; hard: v_reset where s[t] else u_k[t]
    a[t]   = adapt_decay * a[t-1] + s[t]

The fused kernel's spikes equal the loop's to the bit. Gradients pass through surrogate, membranes, synapse and
adaptation, not through the reset. The kernel keeps only ``x`` for the backward pass.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snn4.policies.surrogate import SURROGATES, spike

_SURROGATE_NUMBERS = {name: number for number, name in enumerate(SURROGATES)}
_WORTH_A_THREAD = 1 << 17
"""Neurons; below, a thread takes longer to wake up than to work."""
_log = logging.getLogger(__name__)


class Dynamics(NamedTuple):
    """Constants of the equations above."""

    decay: tuple[float, ...]
    gain: tuple[float, ...] = (1.0,)
    leak: tuple[float, ...] = (0.0,)
    v_threshold: float = 1.0
    reset: str = "soft"
    """soft, hard, or none: a leaky integrator, which does not spike."""
    v_reset: float = 0.0
    syn_decay: float | None = None
    syn_gain: float = 1.0
    adaptation: float | None = None
    adapt_decay: float = 0.0
    surrogate: str = "arctan"
    slope: float = 2.0


class NeuronState(NamedTuple):
    """State of a layer between steps, float32 or wider; what a neuron does not have is None."""

    v: Tensor
    """Membrane after the reset: (B, …), or (K, B, …) for a neuron with K membranes."""
    i: Tensor | None = None
    """Synaptic current (B, …)."""
    a: Tensor | None = None
    """Adaptation of the threshold (B, …)."""

    def map(self, function: Callable[[Tensor], Tensor]) -> NeuronState:
        """``function`` of every part that there is."""
        i, a = (None if part is None else function(part) for part in (self.i, self.a))
        return NeuronState(function(self.v), i, a)

    def detach(self) -> NeuronState:
        """The same values without their history: where truncated backpropagation through time cuts."""
        return self.map(Tensor.detach)


def scan(
    current: Tensor, state: NeuronState, dynamics: Dynamics, *, steps: int | None = None, decay: Tensor | None = None
) -> tuple[Tensor, NeuronState]:
    """Run neurons over time: ``(spikes (T, B, …), last state)``.

    Args:
        current: (T, B, …); with ``steps`` also (1, B, …), the same current at each of so many steps.
        state: the first state, of the current's batch; float32 where the current is half precision.
        dynamics: the neuron.
        steps: T where the current is constant.
        decay: a learned decay for each feature, of the shape of one sample (…) or broadcast to it, in place of
            ``dynamics.decay``; for neurons with one membrane.

    Raises:
        ValueError: naming the part of the state, or the argument, that does not fit.
    """
    steps = checked_steps(current, steps)
    check_state(current, state, dynamics)
    decay = None if decay is None else _checked_decay(current, decay, dynamics)
    if _is_channels_last(current):
        moved = state.map(lambda part: part.movedim(-3, -1))
        learned = None if decay is None else decay.movedim(0, -1)
        out, last = scan(current.movedim(2, -1), moved, dynamics, steps=steps, decay=learned)
        return out.movedim(-1, 2), last.map(lambda part: part.movedim(-1, -3))
    fusable = current.device.type == "cpu" and current.dtype in (torch.float32, torch.bfloat16)
    # The kernel finds the membrane, which a learned decay's gradient needs, from x alone.
    fusable &= decay is None or (dynamics.adaptation is None and dynamics.reset != "none")
    if fusable and not torch.compiler.is_compiling() and is_fused():
        inputs = (current, *state, decay)
        if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in inputs):
            out, *parts = _FusedScan.apply(*inputs, dynamics, steps)  # type: ignore[no-untyped-call]
        else:
            out, _, *parts = _fused_forward(*inputs, dynamics, steps, save=False)
        return out, NeuronState(*parts)
    return reference_scan(current, state, dynamics, steps=steps, decay=decay)


def reference_scan(
    current: Tensor, state: NeuronState, dynamics: Dynamics, *, steps: int | None = None, decay: Tensor | None = None
) -> tuple[Tensor, NeuronState]:
    """The same step by step in torch: any device and dtype, differentiated by autograd."""
    d, single = dynamics, len(dynamics.decay) == 1
    outputs: list[Tensor] = []  # torch.compile does not know list[Tensor]()
    decays: list[Any] = list(d.decay) if decay is None else [decay]
    vs, i, a = ([state.v] if single else list(state.v)), state.i, state.a
    for t in range(steps or len(current)):
        drive = current[t if len(current) > 1 else 0].to(vs[0].dtype)
        if i is not None and d.syn_decay is not None:
            drive = i = d.syn_decay * i + d.syn_gain * drive
        us = [k * v + (gain * drive + leak) for k, v, gain, leak in zip(decays, vs, d.gain, d.leak, strict=True)]
        u = us[0] if single else functools.reduce(torch.add, us) / len(us)
        if d.reset == "none":
            vs = us
            outputs.append(u)
            continue
        adapted = a is not None and d.adaptation is not None
        s = spike(u - (d.v_threshold + d.adaptation * a if adapted else d.v_threshold), d.surrogate, d.slope)  # type: ignore[operator]
        fired = s.detach()
        if d.reset == "soft":
            vs = [u - fired * d.v_threshold for u in us]
        else:
            vs = [torch.where(fired > 0, d.v_reset, u) for u in us]
        a = None if a is None else d.adapt_decay * a + s
        outputs.append(s)
    return torch.stack(outputs).to(current.dtype), NeuronState(vs[0] if single else torch.stack(vs), i, a)


def state_dtype(current: Tensor) -> torch.dtype:
    """Precision of the states that go with ``current``: its own, float32 where that is half."""
    return torch.float32 if current.dtype in (torch.bfloat16, torch.float16) else current.dtype


def is_fused() -> bool:
    """Whether the compiled loop is there."""
    return _kernels() is not None


def checked_steps(current: Tensor, steps: int | None) -> int:
    if not current.is_floating_point():
        raise ValueError(f"current: got dtype {current.dtype}, allowed is a floating-point one; convert with .float()")
    if current.dim() < 2 or len(current) < 1:
        raise ValueError(f"current: got shape {tuple(current.shape)}, allowed is (T, B, …) with T >= 1")
    if steps is not None and (steps < 1 or len(current) not in (1, steps)):
        raise ValueError(
            f"steps: got {steps} for a current of {len(current)} steps, allowed is >= 1 with one, or equal"
        )
    return steps or len(current)


def check_state(current: Tensor, state: NeuronState, dynamics: Dynamics) -> None:
    shape, membranes = tuple(current.shape[1:]), len(dynamics.decay)
    expected = {
        "v": shape if membranes == 1 else (membranes, *shape),
        "i": None if dynamics.syn_decay is None else shape,
        "a": None if dynamics.adaptation is None else shape,
    }
    for name, part in state._asdict().items():
        got = None if part is None else tuple(part.shape)
        if got != expected[name]:
            raise ValueError(
                f"state.{name}: got shape {got}, allowed is {expected[name]}, that of one step of the input; "
                f"start from a new state when the batch changes"
            )
        if part is not None and (part.dtype, part.device) != (state_dtype(current), current.device):
            raise ValueError(
                f"state.{name}: got {part.dtype} on {part.device}, allowed is {state_dtype(current)} on "
                f"{current.device} for an input of {current.dtype}"
            )


def _checked_decay(current: Tensor, decay: Tensor, d: Dynamics) -> Tensor:
    """``decay`` in the shape of a sample."""
    if len(d.decay) > 1:
        raise ValueError(f"decay: got a learned one for {len(d.decay)} membranes, allowed is one membrane")
    try:
        return decay.expand(current.shape[2:])
    except RuntimeError as error:
        raise ValueError(
            f"decay: got shape {tuple(decay.shape)}, allowed is one that broadcasts to {tuple(current.shape[2:])}"
        ) from error


def _is_channels_last(current: Tensor) -> bool:
    return current.dim() == 5 and not current.is_contiguous() and current.movedim(2, -1).is_contiguous()


class _FusedScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, v: Tensor, i: Tensor | None, a: Tensor | None, decay: Tensor | None,
        dynamics: Dynamics, steps: int,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        spiking = dynamics.reset != "none"
        out, x, *last = _fused_forward(current, v, i, a, decay, dynamics, steps, save=spiking)
        ctx.dynamics, ctx.shape, ctx.dtype = dynamics, current.shape, current.dtype
        ctx.save_for_backward(x, decay, None if decay is None else v)
        return out, *last

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (x, decay, first), d = ctx.saved_tensors, ctx.dynamics
        grad_out, (grad_v, grad_i, grad_a) = grads[0].contiguous(), map(_copy, grads[1:])
        # A constant current collects the gradients of all steps: in full precision.
        constant = ctx.shape[0] == 1
        grad_current = torch.zeros(ctx.shape) if constant else torch.empty(ctx.shape, dtype=ctx.dtype)
        grad_decay = None if decay is None else torch.zeros(ctx.shape[1:])
        _spread(
            _kernels()[1](_variant(d, decay is not None)), grad_out[0].numel(), decay,  # type: ignore[index]
            _rows(grad_out), _rows(grad_out if x is None else x), _rows(grad_v, len(d.decay)),
            _row(grad_i), _row(grad_a), _rows(grad_current), _row(grad_decay), _row(first),
            _decays(d, decay), _floats(d.gain), *_scalars(d), np.float32(d.slope),
        )  # fmt: skip
        grad_decay = None if grad_decay is None else grad_decay.sum(0)
        return grad_current.to(ctx.dtype), grad_v, grad_i, grad_a, grad_decay, None, None


def _fused_forward(
    current: Tensor, v: Tensor, i: Tensor | None, a: Tensor | None, decay: Tensor | None,
    d: Dynamics, steps: int, *, save: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """Output (T, B, …), ``x`` if it is to be saved, and the last v, i and a."""
    current, (v, i, a) = current.detach().contiguous(), map(_copy, (v, i, a))
    out = current.new_empty(steps, *current.shape[1:])
    x = torch.empty_like(out) if save else None
    _spread(
        _kernels()[0](_variant(d, decay is not None)._replace(surrogate=0), save), out[0].numel(), decay,  # type: ignore[index]
        _rows(current), _rows(v, len(d.decay)), _row(i), _row(a), _rows(out), _rows(out if x is None else x),
        _decays(d, decay), _floats(d.gain), _floats(d.leak), *_scalars(d),
    )  # fmt: skip
    return out, x, v, i, a


def _variant(d: Dynamics, learned: bool) -> Any:
    from snn4.policies._scan_kernels import Variant

    number = _SURROGATE_NUMBERS[d.surrogate]
    return Variant(len(d.decay), d.syn_decay is not None, d.adaptation is not None, learned, d.reset, number)


def _copy(x: Tensor | None) -> Any:
    return None if x is None else x.detach().clone(memory_format=torch.contiguous_format)


_NOTHING = np.zeros(1, np.float32)


def _rows(x: Tensor, rows: int | None = None) -> Any:
    """The memory of ``x`` as (rows, N), bfloat16 by its bits."""
    x = x.detach()
    bits = x.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else x.numpy()
    return bits.reshape(rows or len(x), -1)


def _row(x: Tensor | None) -> Any:
    return _NOTHING if x is None else x.detach().contiguous().numpy().reshape(-1)


def _decays(d: Dynamics, learned: Tensor | None) -> Any:
    return _floats(d.decay) if learned is None else _row(learned)


@functools.cache
def _floats(values: tuple[float, ...]) -> tuple[np.float32, ...]:
    return tuple(np.float32(value) for value in values)


@functools.cache
def _scalars(d: Dynamics) -> tuple[np.float32, ...]:
    return _floats((d.syn_decay or 0.0, d.syn_gain, d.v_threshold, d.v_reset, d.adaptation or 0.0, d.adapt_decay))


def _spread(kernel: Callable[..., None], neurons: int, decay: Tensor | None, *arguments: Any) -> None:
    """Run ``kernel`` over all blocks of neurons, on torch's number of threads where that pays."""
    from snn4.policies._scan_kernels import BLOCK

    features = (neurons if decay is None else decay.numel()) or 1
    units = neurons // features * -(-features // BLOCK)
    if neurons < _WORTH_A_THREAD:
        kernel(*arguments, features, 0, units)
    else:
        run_in_threads(kernel, units, *arguments, features)


def run_in_threads(kernel: Callable[..., None], units: int, *arguments: Any) -> None:
    """``kernel(*arguments, first, last)`` over ``units`` of work, shared among as many threads as torch has."""
    threads = min(torch.get_num_threads(), units)
    edges = [units * n // threads for n in range(threads + 1)]
    others = [
        _pool(os.getpid()).submit(kernel, *arguments, first, last) for first, last in itertools.pairwise(edges[1:])
    ]
    kernel(*arguments, 0, edges[1])
    for other in others:
        other.result()


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork does not inherit them."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="scan")


@functools.cache
def _kernels() -> tuple[Callable[..., Callable[..., None]], Callable[..., Callable[..., None]]] | None:
    """Makers of the compiled loops; None, with one log line, where numba cannot compile."""
    try:
        from snn4.policies._scan_kernels import backward_kernel, forward_kernel
    # numba breaks in many ways (missing, wrong LLVM, read-only cache); none may stop training
    except Exception as error:
        _log.warning("no compiler for the fused time loop (%s): using the plain one, which is slower", error)
        return None
    return forward_kernel, backward_kernel
