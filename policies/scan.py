"""The time loop of a layer of neurons over (T, B, …): one fused operator on CPUs and GPUs, else a plain loop.

Both compute the equations of `snn4.policies.dynamics`. They round at the same places, so their spikes are the same.
Gradients pass through surrogate, membranes, synapse and adaptation, but not through the reset. For the backward pass,
the kernel keeps only its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snn4.policies.dynamics import Dynamics, NeuronState, rest_state, state_dtype
from snn4.policies.fused import fused_forward, is_fused
from snn4.policies.reference import reference_scan as reference_scan
from snn4.policies.scan_operator import room, run, runs


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
    if _is_plain(current):
        if state is None:
            state = rest_state(current, dynamics, v_rest)
        return reference_scan(current, state, dynamics, steps=steps, decay=decay)
    inputs: Any = (current, *(state or (None,) * 3), decay)
    differentiated = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in inputs)
    if differentiated or is_recorded() or current.device.type != "cpu":
        return run(current, state, decay, dynamics, steps, v_rest)
    last, rest = room(current, dynamics, state, v_rest)  # what the operator does, without its overhead
    return fused_forward(current, last, rest, decay, dynamics, steps), last


def _is_plain(current: Tensor) -> bool:
    """Whether only the plain loop can run over ``current``, or be saved with a trace."""
    if torch.jit.is_tracing() or not runs(current):  # type: ignore[attr-defined]
        return True
    return current.device.type == "cpu" and not (is_recorded() or is_fused())


def is_recorded() -> bool:
    """Whether operations are recorded or transformed (compiled, traced, or by `torch.func`), without their values."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return True
    return torch._C._are_functorch_transforms_active()


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
