"""Stateful composition: layers without memory run over all steps at once, neurons run over time, and blocks nest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from snn4.policies.neurons import Neuron

State = Any
"""A layer's state between steps: a `NeuronState`, a number, a tuple of states (of a block), or None at rest."""


class Stateful(nn.Module):
    """Base of layers and blocks that are called as ``(x (T, B, …), state, steps) -> (y (T, B, …), state)``."""


class OverSteps(nn.Module):
    """Base of stateless layers that distinguish steps from samples: called as ``(x (T * B, …), T) -> y (T * B, …)``."""


class SpikingSequential(Stateful, nn.Sequential):
    """Layers in sequence: ``(x (T, B, …), state) -> (y (T, B, …), state)``.

    Stateful layers (neurons and subclasses of `Stateful`) are called as ``layer(x, state, steps)``. All other layers
    (convolutions, pooling, norms) see a batch of T * B samples. So each layer runs once over all steps before the next
    layer starts.

    A constant input is one step ``x`` (1, B, …) with ``steps`` = T. The layers before the first stateful layer then run
    once instead of T times.

    The state is a tuple with one entry per stateful layer; None is rest. Truncated backpropagation through time is a
    loop over chunks that cuts the history of the state:

        for chunk in x.split(k):
            y, state = network(chunk, detach(state))
            loss(y).backward()

    Args:
        layers: the layers, in order.
        checkpoint_steps: k steps per segment of gradient checkpointing (Chen et al. 2016): the backward pass computes
            each segment again. Only the activations of one segment are in memory at a time, at the cost of a second
            forward pass. Gradients are the same, except for batch norms that share statistics between steps, which
            take them from each segment. Running statistics are updated once per segment.

    Raises:
        ValueError: for ``checkpoint_steps`` < 1, for ``steps`` that do not fit the input, and for a state that does not
            fit the layers or the batch; the message names the argument.
    """

    def __init__(self, *layers: Any, checkpoint_steps: int | None = None) -> None:
        super().__init__(*layers)
        if checkpoint_steps is not None and checkpoint_steps < 1:
            raise ValueError(f"checkpoint_steps: got {checkpoint_steps}, allowed is None or a whole number >= 1")
        self.checkpoint_steps = checkpoint_steps

    def forward(self, x: Tensor, state: State = None, steps: int | None = None) -> tuple[Tensor, State]:  # type: ignore[override]
        """Run over time.

        Args:
            x: (T, B, …), or one constant step (1, B, …).
            state: the state after the previous steps.
            steps: T of a constant input.
        """
        steps, layers = checked_steps(x, steps), list(self)
        if len(x) == 1:
            # The signal is constant up to the first stateful layer, so these layers run once, outside all segments.
            while layers and not is_stateful(layers[0]):
                x = over_steps(layers.pop(0), x)
        state = _checked_state(state, sum(map(is_stateful, layers)))
        k = self.checkpoint_steps
        if k is None or not layers:
            return _run(layers, x, state, steps)
        outputs = []
        for first in range(0, steps, k):
            segment = x if len(x) == 1 else x[first : first + k]
            y, state = checkpoint(
                _run, layers, segment, state, min(k, steps - first),
                use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), _frozen_buffers(self)),
            )  # fmt: skip
            outputs.append(y)
        return torch.cat(outputs), state


class SpikingResidual(Stateful):
    """The sum of two paths: ``y = branch(x) + shortcut(x)``; an empty shortcut is the identity.

    The state is the pair of the states of both paths.
    """

    def __init__(self, branch: SpikingSequential, shortcut: SpikingSequential) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor, state: State = None, steps: int | None = None) -> tuple[Tensor, State]:
        """As `SpikingSequential.forward`."""
        branch, shortcut = _checked_state(state, 2)
        y, branch = self.branch(x, branch, steps)
        z, shortcut = self.shortcut(x, shortcut, steps)
        return y + z, (branch, shortcut)


def detach(state: State) -> State:
    """The same state without its history."""
    return map_state(Tensor.detach, state)


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """``state`` with ``function`` applied to every tensor; other values do not change."""
    if isinstance(state, Tensor):
        return function(state)
    if not isinstance(state, tuple):
        return state
    parts = [map_state(function, part) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def is_stateful(layer: nn.Module) -> bool:
    """Whether ``layer`` is called as ``(x, state, steps) -> (y, state)``."""
    return isinstance(layer, (Neuron, Stateful))


def _run(layers: list[nn.Module], x: Tensor, state: tuple[State, ...], steps: int) -> tuple[Tensor, tuple[State, ...]]:
    before, after = iter(state), []
    for layer in layers:
        if is_stateful(layer):
            x, last = layer(x, next(before), steps)
            after.append(last)
        else:
            x = over_steps(layer, x)
    return x, tuple(after)


def over_steps(layer: nn.Module, x: Tensor) -> Tensor:
    """The output of a layer without memory for ``x`` (T, B, …): it sees a batch of T * B samples."""
    y = layer(_samples(x), len(x)) if isinstance(layer, OverSteps) else layer(_samples(x))
    if not isinstance(y, Tensor):
        raise TypeError(
            f"{type(layer).__name__}: got an output of type {type(y).__name__}, allowed is a Tensor; a layer with a "
            f"state derives from Stateful"
        )
    return y.unflatten(0, x.shape[:2])


def _samples(x: Tensor) -> Tensor:
    """``x`` (T, B, …) as (T * B, …), in channels_last if this is its memory format.

    torch recognizes the format by the strides, but a view of a single sample has different strides in dimensions of
    size 1.
    """
    flat = x.flatten(0, 1)
    if flat.dim() != 4 or flat.shape[0] > 1:  # len() would fix the size of the batch in torch.export
        return flat
    channels, width = flat.shape[1], flat.shape[3]
    if channels == 1 or flat.stride()[1:] != (1, width * channels, channels):
        return flat
    return flat.as_strided(flat.shape, (flat.numel(), *flat.stride()[1:]))


@contextlib.contextmanager
def _frozen_buffers(module: nn.Module) -> Iterator[None]:
    """Restore the buffers of ``module`` at the end, so a second pass does not update running statistics twice."""
    buffers = [(owner, name, x) for owner in module.modules() for name, x in owner.named_buffers(recurse=False)]
    for owner, name, buffer in buffers:
        setattr(owner, name, buffer.clone())
    try:
        yield
    finally:
        for owner, name, buffer in buffers:
            setattr(owner, name, buffer)


def checked_steps(x: Tensor, steps: int | None) -> int:
    """The number of steps T given by input ``x`` and argument ``steps``; ValueError if they do not fit."""
    if x.dim() < 2 or len(x) < 1:
        raise ValueError(f"x: got shape {tuple(x.shape)}, allowed is (T, B, …) with T >= 1")
    if steps is not None and (steps < 1 or len(x) not in (1, steps)):
        raise ValueError(
            f"steps: got {steps} for an input of {len(x)} steps, allowed is the same number, or any number >= 1 for an "
            f"input of one step"
        )
    return steps or len(x)


def _checked_state(state: State, parts: int) -> tuple[State, ...]:
    if state is None:
        return (None,) * parts
    if not isinstance(state, (tuple, list)) or len(state) != parts:
        got = f"{len(state)} entries" if isinstance(state, (tuple, list)) else type(state).__name__
        raise ValueError(f"state: got {got}, allowed is a tuple of {parts}, one for each stateful layer")
    return tuple(state)
