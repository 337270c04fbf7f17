"""Variants of the dynamics, inputs for them, and how outputs, states and gradients of two scans are compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snn4.policies.dynamics import Dynamics, NeuronState, state_dtype

MULTI: dict[str, Any] = {"decay": (0.9, 0.5), "gain": (1.0, 0.7), "leak": (0.02, 0.0)}
THREE: dict[str, Any] = {"decay": (0.9, 0.5, 0.8), "gain": (1.0, 0.7, 0.3), "leak": (0.02, 0.0, -0.01)}
ADAPTIVE: dict[str, Any] = {"adaptation": 0.3, "adapt_decay": 0.9}
SYNAPSE: dict[str, Any] = {"syn_decay": 0.7, "syn_gain": 0.6}
F32, BF16 = torch.float32, torch.bfloat16
# Each compiles a kernel of its own, about a second: together they hold every branch of the kernels and every surrogate.
VARIANTS: dict[str, tuple[dict[str, Any], torch.dtype, bool]] = {
    "lif-soft": ({"surrogate": "sigmoid"}, F32, False),
    "lif-hard": ({"reset": "hard", "surrogate": "sigmoid"}, F32, False),
    "lif-soft-bfloat16": ({"surrogate": "gaussian"}, BF16, False),
    "cuba-soft": (SYNAPSE | {"surrogate": "sigmoid"}, F32, False),
    "alif-soft": (ADAPTIVE | {"surrogate": "fast_sigmoid"}, F32, False),
    "signed": ({"adaptation": 0.0, "adapt_decay": 1.0, "signed": True}, F32, False),
    "multi-soft": (MULTI | {"surrogate": "triangle"}, F32, False),
    "everything-hard": (THREE | SYNAPSE | ADAPTIVE | {"reset": "hard"}, F32, False),
    "plif-soft": ({"surrogate": "sigmoid"}, F32, True),
    "plif-hard-bfloat16": ({"reset": "hard"}, BF16, True),
    "li": ({"reset": "none"}, F32, False),
}


def constants(**changes: Any) -> Dynamics:
    plain: dict[str, Any] = {"decay": (0.9,), "gain": (1.3,), "leak": (0.05,)}
    plain |= {"v_threshold": 0.8, "v_reset": -0.25, "slope": 3.0}
    return Dynamics(**(plain | changes))


def first_state(dynamics: Dynamics, current: Tensor, generator: torch.Generator) -> NeuronState:
    shape, membranes = tuple(current.shape[1:]), len(dynamics.decay)

    def part(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=generator, dtype=state_dtype(current))

    return NeuronState(
        part(*shape) if membranes == 1 else part(membranes, *shape),
        None if dynamics.syn_decay is None else part(*shape),
        None if dynamics.adaptation is None else part(*shape).abs(),
    )


def inputs(name: str, *shape: int, seed: int = 0, **changes: Any) -> tuple[Tensor, NeuronState, Dynamics, Any]:
    """Current, first state, dynamics and learned decay of a variant; gradients of all of them can be asked for."""
    fields, dtype, learned = VARIANTS[name]
    dynamics, generator = constants(**(fields | changes)), torch.Generator().manual_seed(seed)
    current = (torch.randn(shape, generator=generator) + 0.5).to(dtype)
    decay = torch.rand(shape[2:3] + (1,) * len(shape[3:]), generator=generator) if learned else None
    return current, first_state(dynamics, current, generator), dynamics, decay


def run(
    function: Any, current: Tensor, state: NeuronState, dynamics: Dynamics, decay: Any = None, **options: Any
) -> Any:
    """Output, last state, and the gradients of a random weighting of both."""
    current = current.detach().requires_grad_()
    state = state.map(lambda part: part.detach().requires_grad_())
    decay = None if decay is None else decay.detach().requires_grad_()
    output, last = function(current, state, dynamics, decay=decay, **options)
    weights, parts = torch.Generator().manual_seed(1), [part for part in last if part is not None]
    loss = sum((part.float() * torch.randn(part.shape, generator=weights)).sum() for part in (output, *parts))
    wanted = [part for part in (current, *state, decay) if part is not None]
    return output.detach(), [part.detach() for part in parts], torch.autograd.grad(loss, wanted)  # type: ignore[arg-type]


def assert_same(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    """Spikes, 0 or 1, are equal; states and gradients near, those of bfloat16 within what its rounding does."""
    (output, states, gradients), (output2, states2, gradients2) = got, want
    assert_near((output, *states), (output2, *states2), 1e-5)
    assert_near(gradients, gradients2, 0.03 if output.dtype == BF16 else tolerance)


def assert_near(got: Any, want: Any, tolerance: float) -> None:
    for a, b in zip(got, want, strict=True):
        scale = max(1.0, b.abs().max().item()) if b.numel() else 1.0
        torch.testing.assert_close(a, b, atol=tolerance * scale, rtol=tolerance)


def assert_equal(got: Any, want: Any) -> None:
    """Outputs and states equal to the bit: they were computed by the same code from the same numbers."""
    assert all(torch.equal(a, b) for a, b in zip((got[0], *got[1]), (want[0], *want[1]), strict=True))
