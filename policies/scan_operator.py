"""The fused time loop as operators of torch, ``snn4::scan`` and ``snn4::scan_backward``.

`torch.compile`, `torch.export` and `torch.func` pass through operators without looking inside. Programs that
`torch.export.save` wrote load in a process that has imported this module (`snn4.policies.neurons` does). A state or a
decay that a neuron does not have is None as an argument, and a tensor without elements as a result.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import _register_namedtuple

from snn4.policies.dynamics import Dynamics, NeuronState, rest_state, state_dtype
from snn4.policies.fused import fused_backward, fused_forward, is_fused
from snn4.policies.reference import reference_scan

_STATE = "Tensor current, Tensor? v, Tensor? i, Tensor? a, Tensor? decay, int steps, float v_rest"
_DYNAMICS = (
    "float[] decays, float[] gain, float[] leak, float v_threshold, str reset, float v_reset, float? syn_decay, "
    "float syn_gain, float? adaptation, float adapt_decay, str surrogate, float slope, bool signed"
)
_GRADS = "Tensor? grad_out, Tensor? grad_v, Tensor? grad_i, Tensor? grad_a"
_TENSORS = 5
"""Of `_STATE`."""
HAS_TRITON = importlib.util.find_spec("triton") is not None
"""Whether GPUs have kernels; torch brings Triton on Linux."""
_DTYPES = {"cpu": (torch.float32, torch.bfloat16), "cuda": (torch.float32, torch.bfloat16, torch.float16)}
_log = logging.getLogger(__name__)


def runs(current: Tensor) -> bool:
    """Whether there is a kernel for this device and dtype."""
    if current.device.type == "cuda" and not HAS_TRITON:
        if not torch.compiler.is_compiling():
            _say_once()
        return False
    return current.dtype in _DTYPES.get(current.device.type, ())


@functools.cache
def _say_once() -> None:
    _log.warning("no Triton for the fused time loop on GPUs: using the plain loop, which is slower; pip install triton")


def run(
    current: Tensor, state: NeuronState | None, decay: Tensor | None, dynamics: Dynamics, steps: int, v_rest: float
) -> tuple[Tensor, NeuronState]:
    """Output (T, B, …) and last state of neurons on a device that `runs` them; see `snn4.policies.scan`."""
    v, i, a = state or (None, None, None)
    out, *last = _forward(current, v, i, a, decay, steps, v_rest, *dynamics)
    return out, _state(last, dynamics)


def _run_scan(
    current: Tensor, v: Any, i: Any, a: Any, decay: Any, steps: int, v_rest: float, *constants: Any
) -> tuple[Tensor, ...]:
    d, first = _dynamics(constants), None if v is None else NeuronState(v, i, a)
    kernels = _kernels(current)
    if kernels is None:
        out, last = reference_scan(current, first or rest_state(current, d, v_rest), d, steps=steps, decay=decay)
    else:
        last, rest = room(current, d, first, v_rest)
        out = kernels[0](current, last, rest, decay, d, steps)
    return out, *_parts(current, *last)


def _run_backward(
    grad_out: Any, grad_v: Any, grad_i: Any, grad_a: Any, current: Tensor, v: Any, i: Any, a: Any, decay: Any,
    steps: int, v_rest: float, *constants: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    d, first = _dynamics(constants), None if v is None else NeuronState(v, i, a)
    kernels = _kernels(current)
    if kernels is None:
        grads, tensors = (grad_out, grad_v, grad_i, grad_a), (current, v, i, a, decay)
        return _parts(current, *_plain_backward(d, steps, v_rest, grads, tensors))
    if grad_out is None:
        grad_out = current.new_zeros(steps, *current.shape[1:])
    grad_state = None
    if first is not None or any(grad is not None for grad in (grad_v, grad_i, grad_a)):
        like, _ = room(current, d, first, 0.0)
        parts: Any = (
            None if part is None else torch.zeros_like(part) if grad is None else _copy(grad)
            for grad, part in zip((grad_v, grad_i, grad_a), like, strict=True)
        )
        grad_state = NeuronState(*parts)
    rest = v_rest if first is None else None
    grad, grad_decay = kernels[1](grad_out, grad_state, current, first, rest, decay, d)
    return _parts(current, grad, *(grad_state if first and grad_state else (None,) * 3), grad_decay)


# Exported programs return states.
_register_namedtuple(NeuronState, serialized_type_name="snn4.policies.dynamics.NeuronState")


def _kernels(current: Tensor) -> Any:
    """Compiled forward and backward pass; None if only the plain loop can run."""
    if current.device.type == "cpu":
        return (fused_forward, fused_backward) if is_fused() else None
    if not HAS_TRITON:
        return None
    from snn4.policies.triton_scan import triton_backward, triton_forward

    return triton_forward, triton_backward


_scan = torch.library.custom_op(
    "snn4::scan", _run_scan, mutates_args=(), device_types=("cpu", "cuda"),
    schema=f"({_STATE}, {_DYNAMICS}) -> (Tensor, Tensor, Tensor, Tensor)",
)  # fmt: skip
_backward = torch.library.custom_op(
    "snn4::scan_backward", _run_backward, mutates_args=(), device_types=("cpu", "cuda"),
    schema=f"({_GRADS}, {_STATE}, {_DYNAMICS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)  # fmt: skip


@_scan.register_fake
def _shapes(current: Tensor, v: Any, i: Any, a: Any, decay: Any, steps: int, v_rest: float, *constants: Any) -> Any:
    last, _ = room(current, _dynamics(constants), None, 0.0)
    return current.new_empty(steps, *current.shape[1:]), *_parts(current, *last)


@_backward.register_fake
def _shapes_of_gradients(
    grad_out: Any, grad_v: Any, grad_i: Any, grad_a: Any, current: Tensor, v: Any, i: Any, a: Any, decay: Any,
    steps: int, v_rest: float, *constants: Any,
) -> Any:  # fmt: skip
    like = (None if x is None else x.new_empty(x.shape) for x in (current, v, i, a, decay))
    return _parts(current, *like)


# Gradients


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:_TENSORS])
    ctx.constants = inputs[_TENSORS:]


def _differentiate(ctx: Any, *grads: Any) -> Any:
    tensors = ctx.saved_tensors
    # Where there is no such part, there is no gradient either.
    grads = tuple(None if grad is None or not _is_there(grad) else grad for grad in grads)
    found = _gradients(*grads, *tensors, *ctx.constants)
    gradients = (None if x is None else grad for x, grad in zip(tensors, found, strict=True))
    return *gradients, *(None,) * len(ctx.constants)


def _keep_gradients(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[: 4 + _TENSORS])
    ctx.constants = inputs[4 + _TENSORS :]


def _differentiate_again(ctx: Any, *grads: Any) -> Any:
    """By the plain loop, whose gradients can be differentiated any number of times."""
    saved: Any = ctx.saved_tensors
    steps, v_rest, d = ctx.constants[0], ctx.constants[1], _dynamics(ctx.constants[2:])
    given = [number for number, x in enumerate(saved) if x is not None]

    def gradients(*present: Tensor) -> Any:
        both: list[Any] = [None] * len(saved)
        for number, x in zip(given, present, strict=True):
            both[number] = x
        found = _plain_backward(d, steps, v_rest, both[:4], both[4:])
        return tuple(x for x, grad in zip(found, grads, strict=True) if x is not None and grad is not None)

    wanted = tuple(grad for grad, x in zip(grads, saved[4:], strict=True) if grad is not None and x is not None)
    results: list[Any] = [None] * (len(saved) + len(ctx.constants))
    if wanted:
        pull: Any = torch.func.vjp(gradients, *(saved[number] for number in given))[1]
        for number, x in zip(given, pull(wanted), strict=True):
            results[number] = x
    return tuple(results)


def _plain_backward(
    d: Dynamics, steps: int, v_rest: float, grads: Sequence[Tensor | None], tensors: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Gradients of ``tensors`` by the plain loop."""
    given = [number for number, x in enumerate(tensors) if x is not None]

    def outputs(*present: Tensor) -> tuple[Tensor, ...]:
        both: list[Any] = [None] * _TENSORS
        for number, x in zip(given, present, strict=True):
            both[number] = x
        current, v, i, a, decay = both
        first = rest_state(current, d, v_rest) if v is None else NeuronState(v, i, a)
        precise = current.to(state_dtype(current))
        out, last = reference_scan(precise, first, d, steps=steps, decay=decay)
        every = (out.to(current.dtype), *last)
        return tuple(x for x, grad in zip(every, grads, strict=True) if x is not None and grad is not None)

    pull: Any = torch.func.vjp(outputs, *(x for x in tensors if x is not None))[1]
    results: list[Tensor | None] = [None] * _TENSORS
    for number, x in zip(given, pull(tuple(grad for grad in grads if grad is not None)), strict=True):
        results[number] = x
    return results


_scan.register_autograd(_differentiate, setup_context=_keep)
_backward.register_autograd(_differentiate_again, setup_context=_keep_gradients)


# Where nothing is recorded, functions of autograd take a third of the time of operators. torch.func transforms only
# functions with a setup_context, which take longer again.


class _EagerScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        output = _run_scan(*arguments)
        _keep(ctx, arguments, output)
        return output

    backward = staticmethod(_differentiate)


class _Scan(torch.autograd.Function):
    forward, setup_context, backward = staticmethod(_run_scan), staticmethod(_keep), staticmethod(_differentiate)

    @staticmethod
    def vmap(info: Any, dims: Any, *arguments: Any) -> Any:
        """The new dimension becomes the first feature, behind the batch."""
        d = _dynamics(arguments[_TENSORS + 2 :])
        tensors = _with_features(info, dims, arguments[:_TENSORS], _places(d))
        found = _forward(*tensors, *arguments[_TENSORS:])
        return _without_features(found, (2, *_places(d)[1:4]))


class _Backward(torch.autograd.Function):
    forward, setup_context = staticmethod(_run_backward), staticmethod(_keep_gradients)
    backward = staticmethod(_differentiate_again)

    @staticmethod
    def vmap(info: Any, dims: Any, *arguments: Any) -> Any:
        d = _dynamics(arguments[4 + _TENSORS + 2 :])
        places = (2, *_places(d)[1:4], *_places(d))
        tensors = _with_features(info, dims, arguments[: 4 + _TENSORS], places)
        found = _gradients(*tensors, *arguments[4 + _TENSORS :])
        return _without_features(found, _places(d))


def _forward(*arguments: Any) -> Any:
    if torch.compiler.is_compiling():
        return _scan(*arguments)
    function: Any = _Scan if torch._C._are_functorch_transforms_active() else _EagerScan
    return function.apply(*arguments)


def _gradients(*arguments: Any) -> Any:
    if torch.compiler.is_compiling():
        return _backward(*arguments)
    if torch._C._are_functorch_transforms_active() or torch.is_grad_enabled():
        return _Backward.apply(*arguments)  # type: ignore[no-untyped-call]
    return _run_backward(*arguments)


def _places(d: Dynamics) -> tuple[int, ...]:
    """Where the first feature is in current, v, i, a and decay."""
    return 2, 1 if len(d.decay) == 1 else 2, 1, 1, 0


def _with_features(info: Any, dims: Any, tensors: Sequence[Tensor | None], places: Sequence[int]) -> list[Any]:
    results: list[Any] = []
    for x, dim, place in zip(tensors, dims, places, strict=False):
        if x is None or not _is_there(x):
            results.append(x)
        elif dim is None:
            shape = (*x.shape[:place], info.batch_size, *x.shape[place:])
            results.append(x.unsqueeze(place).expand(shape))
        else:
            results.append(x.movedim(dim, place))
    return results


def _without_features(found: Sequence[Tensor], places: Sequence[int]) -> tuple[Any, Any]:
    return tuple(found), tuple(place if _is_there(x) else None for x, place in zip(found, places, strict=True))


# Parts that a neuron does not have


def _state(parts: Sequence[Tensor], d: Dynamics) -> NeuronState:
    v, i, a = parts
    return NeuronState(v, None if d.syn_decay is None else i, None if d.adaptation is None else a)


def _parts(like: Tensor, *parts: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(like.new_empty(0) if part is None else part for part in parts)


def _is_there(x: Tensor) -> bool:
    return x.dim() != 1 or x.shape[0] != 0


def _dynamics(constants: Sequence[Any]) -> Dynamics:
    lists = (tuple(values) for values in constants[:3])
    return Dynamics(*lists, *constants[3:])  # type: ignore[arg-type]


def room(current: Tensor, d: Dynamics, state: NeuronState | None, v_rest: float) -> tuple[NeuronState, float | None]:
    """Memory for the state that the kernel updates, and the rest to start from.

    The memory is a copy of ``state``, without a rest; or it is uninitialized, and the kernel starts from ``v_rest``.
    """
    if state is not None:
        return state.map(_copy), None
    shape, k = current.shape[1:], len(d.decay)
    empty = functools.partial(torch.empty, dtype=torch.float32, device=current.device)
    i, a = (None if constant is None else empty(shape) for constant in (d.syn_decay, d.adaptation))
    return NeuronState(empty(shape if k == 1 else (k, *shape)), i, a), v_rest


def _copy(x: Tensor) -> Tensor:
    return x.detach().clone(memory_format=torch.contiguous_format)
