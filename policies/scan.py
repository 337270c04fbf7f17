"""The time loop of a layer of neurons over (T, B, …): one fused kernel on CPUs, a plain loop everywhere else.

Both compute the equations of `snn4.policies.dynamics`. They round at the same places, so their spikes are the same.
Gradients pass through surrogate, membranes, synapse and adaptation, but not through the reset. For the backward pass,
the kernel keeps only its inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snn4.policies.dynamics import Dynamics, NeuronState, rest_state, state_dtype
from snn4.policies.fused import fused_backward, fused_forward, is_fused
from snn4.policies.surrogate import spike


def scan(
    current: Tensor, state: NeuronState | None, dynamics: Dynamics, *, steps: int | None = None,
    decay: Tensor | None = None, v_rest: float = 0.0,
) -> tuple[Tensor, NeuronState]:  # fmt: skip
    """Run neurons over time: ``(spikes (T, B, …), last state)``.

    Args:
        current: (T, B, …); with ``steps``, also a constant current (1, B, …) for all of these steps.
        state: the initial state for this batch, in float32 for a current of half precision. None is rest.
        dynamics: the constants of the neuron.
        steps: T of a constant current.
        decay: a learned decay per feature, which replaces ``dynamics.decay``; its shape is that of one sample (…), or
            broadcasts to it. Only for neurons with one membrane.
        v_rest: the membrane at rest, from which the state None starts.

    Raises:
        ValueError: the message names the argument, or the part of the state, that does not fit.
    """
    steps = checked_steps(current, steps)
    if state is not None:
        check_state(current, state, dynamics)
    decay = None if decay is None else _checked_decay(current, decay, dynamics)
    if _is_channels_last(current):
        start = None if state is None else state.map(lambda part: part.movedim(-3, -1))
        decay = None if decay is None else decay.movedim(0, -1)
        out, last = scan(current.movedim(2, -1), start, dynamics, steps=steps, decay=decay, v_rest=v_rest)
        return out.movedim(-1, 2), last.map(lambda part: part.movedim(-1, -3))
    fusable = current.device.type == "cpu" and current.dtype in (torch.float32, torch.bfloat16)
    if fusable and not is_recorded() and is_fused():
        inputs: Any = (current, *(state or (None,) * 3), decay)
        if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in inputs):
            out, *parts = _FusedScan.apply(*inputs, dynamics, steps, v_rest)  # type: ignore[no-untyped-call]
            return out, NeuronState(*parts)
        last, rest = room(current, dynamics, state, v_rest)
        return fused_forward(current, last, rest, decay, dynamics, steps), last
    if state is None:
        state = rest_state(current, dynamics, v_rest)
    return reference_scan(current, state, dynamics, steps=steps, decay=decay)


def is_recorded() -> bool:
    """Whether torch is recording operations (compiling or tracing); it would not record other compiled code."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]


def reference_scan(
    current: Tensor, state: NeuronState, dynamics: Dynamics, *, steps: int | None = None, decay: Tensor | None = None
) -> tuple[Tensor, NeuronState]:
    """`scan` step by step in torch, for any device and dtype; autograd differentiates it."""
    d, single = dynamics, len(dynamics.decay) == 1
    outputs: list[Tensor] = []  # torch.compile does not support list[Tensor]()
    decays: list[Any] = list(d.decay) if decay is None else [decay]
    vs = [state.v] if single else list(state.v)
    i, a = state.i, state.a
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
        if d.signed:
            assert a is not None
            s = s - (a > 0).to(s.dtype) * (1 - spike(u, d.surrogate, d.slope))
        fired = s.detach()
        if d.reset == "soft":
            vs = [u - fired * d.v_threshold for u in us]
        else:
            vs = [torch.where(fired > 0, d.v_reset, u) for u in us]
        a = None if a is None else d.adapt_decay * a + s
        outputs.append(s)
    return torch.stack(outputs).to(current.dtype), NeuronState(vs[0] if single else torch.stack(vs), i, a)


def checked_steps(current: Tensor, steps: int | None) -> int:
    if not current.is_floating_point():
        raise ValueError(f"current: got dtype {current.dtype}, allowed is a floating-point one; convert with .float()")
    if current.dim() < 2 or len(current) < 1:
        raise ValueError(f"current: got shape {tuple(current.shape)}, allowed is (T, B, …) with T >= 1")
    if steps is not None and (steps < 1 or len(current) not in (1, steps)):
        raise ValueError(
            f"steps: got {steps} for a current of {len(current)} steps, allowed is the same number, or any number >= 1 "
            f"for a current of one step"
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
    """``decay``, expanded to the shape of a sample."""
    if len(d.decay) > 1:
        raise ValueError(f"decay: got a learned decay for {len(d.decay)} membranes, allowed is one membrane")
    try:
        return decay.to(state_dtype(current)).expand(current.shape[2:])
    except RuntimeError as error:
        raise ValueError(
            f"decay: got shape {tuple(decay.shape)}, allowed is one that broadcasts to {tuple(current.shape[2:])}"
        ) from error


def _is_channels_last(current: Tensor) -> bool:
    return current.dim() == 5 and not current.is_contiguous() and current.movedim(2, -1).is_contiguous()


def room(current: Tensor, d: Dynamics, state: NeuronState | None, v_rest: float) -> tuple[NeuronState, float | None]:
    """Memory for the state that the kernel updates, and the rest to start from.

    The memory is a copy of ``state``, without a rest; or it is uninitialized, and the kernel starts from ``v_rest``.
    """
    if state is not None:
        return state.map(_copy), None
    shape, k = current.shape[1:], len(d.decay)
    empty = functools.partial(torch.empty, dtype=torch.float32, device="cpu")
    i, a = (None if constant is None else empty(shape) for constant in (d.syn_decay, d.adaptation))
    return NeuronState(empty(shape if k == 1 else (k, *shape)), i, a), v_rest


class _FusedScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, v: Tensor | None, i: Tensor | None, a: Tensor | None, decay: Tensor | None,
        dynamics: Dynamics, steps: int, v_rest: float,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        first = None if v is None else NeuronState(v, i, a)
        last, ctx.rest = room(current, dynamics, first, v_rest)
        out = fused_forward(current, last, ctx.rest, decay, dynamics, steps)
        ctx.dynamics, ctx.shape = dynamics, out.shape
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(current, decay, v, i, a)
        return out, *last

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        saved, create_graph = ctx.saved_tensors, torch.is_grad_enabled()
        current, decay, *state = aliases(*saved) if create_graph else saved
        first = None if state[0] is None else NeuronState(*state)
        if create_graph:  # autograd will differentiate these gradients again
            start, precise = first or rest_state(current, ctx.dynamics, ctx.rest), current.to(state_dtype(current))
            out, last = reference_scan(precise, start, ctx.dynamics, steps=ctx.shape[0], decay=decay)
            return *gradients((out.to(current.dtype), *last), (current, *state, decay), grads), None, None, None
        grad_out = torch.zeros(ctx.shape, dtype=current.dtype) if grads[0] is None else grads[0]
        grad_state = None
        if first is not None or any(grad is not None for grad in grads[1:]):
            like, _ = room(current, ctx.dynamics, first, 0.0)
            parts: Any = (
                None if part is None else torch.zeros_like(part) if grad is None else _copy(grad)
                for grad, part in zip(grads[1:], like, strict=True)
            )
            grad_state = NeuronState(*parts)
        grad, grad_decay = fused_backward(grad_out, grad_state, current, first, ctx.rest, decay, ctx.dynamics)
        return grad, *(grad_state if first else (None,) * 3), grad_decay, None, None, None  # type: ignore[misc]


def aliases(*tensors: Tensor | None) -> list[Any]:
    """Views of the tensors, each with its own gradient.

    A tensor that is passed twice, or computed from another one, thus gets separate gradients, and hooks on the original
    tensors do not run.
    """
    return [None if x is None else x.view_as(x) for x in tensors]


def gradients(
    outputs: Sequence[Tensor | None], inputs: Sequence[Tensor | None], grads: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Gradients of ``inputs``, which can be differentiated again; None for inputs that need none or have no effect."""
    pairs = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if out is not None and grad is not None]
    learned = [x for x in inputs if x is not None and x.requires_grad]
    used_outputs, used_grads = [out for out, _ in pairs], [grad for _, grad in pairs]
    results = iter(torch.autograd.grad(used_outputs, learned, used_grads, create_graph=True, allow_unused=True))
    return [next(results) if x is not None and x.requires_grad else None for x in inputs]


def _copy(x: Tensor) -> Tensor:
    return x.detach().clone(memory_format=torch.contiguous_format)
