"""Features inside networks: what a layer gives out while a network runs, and the layers that are worth comparing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.learners.distillation import blurred
from snn4.policies.modes import evaluating
from snn4.policies.network import is_stateful
from snn4.policies.neurons import Neuron

_DEEPEST = 3
"""Parts of the names that a message lists; layers further inside are allowed, too."""


@contextmanager
def watched(layer: nn.Module, batch: int, inputs: bool = False) -> Iterator[list[Tensor]]:
    """A list that receives the features of ``layer`` (its outputs, or its ``inputs``) at every call inside the block.

    They are means over steps, float32: (B, …) for a ``batch`` of B samples.
    """
    seen: list[Tensor] = []

    def look(layer: nn.Module, arguments: Any, output: Any) -> None:
        values = arguments[0] if inputs else output
        if (features := _features(layer, values, batch)) is not None:
            seen.append(features)

    handle = layer.register_forward_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


def _features(layer: nn.Module, values: Any, batch: int) -> Tensor | None:
    values = values[0] if isinstance(values, tuple) else values
    if not isinstance(values, Tensor) or not values.is_floating_point() or values.dim() < 2:
        return None
    if is_stateful(layer):  # (T, B, …)
        return values.float().mean(0)
    return values.float().unflatten(0, (-1, batch)).mean(0) if len(values) % batch == 0 else None


def outlook(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Features of all layers of ``network`` for the example ``x``, in the order in which layers finish."""
    found: dict[str, Tensor] = {}

    def look(name: str, layer: nn.Module, arguments: Any, output: Any) -> None:
        found.pop(name, None)  # the last call of a layer counts
        if (features := _features(layer, output, x.shape[-4])) is not None:
            found[name] = features

    with ExitStack() as stack:
        for name, layer in network.named_modules():
            if name:
                stack.callback(layer.register_forward_hook(partial(look, name)).remove)
        stack.enter_context(evaluating(network))
        network(x)
    return found


def layer_of(views: Mapping[str, Tensor], name: str | None, field: str) -> str:
    """The layer called ``name``, or else the last one whose features have places: maps or tokens.

    Args:
        views: of `outlook`.
        field: the field of the config, for the message.

    Raises:
        ValueError: there is no such layer; lists the allowed ones.
    """
    if name is None:
        return _last([layer for layer, x in views.items() if x[0, 0].numel() > 1] or list(views)[:-1], field)
    if name not in views:
        near = get_close_matches(name, views, n=1)
        outer = [layer for layer in views if layer.count(".") < _DEEPEST and layer != _last(list(views), field)]
        hint = f"did you mean {near[0]}? Allowed" if near else "allowed"
        raise ValueError(f"{field}: got {name!r}, {hint} are {', '.join(outer)}, and layers inside them")
    return name


def last_neurons(network: nn.Module, views: Mapping[str, Tensor], field: str) -> str:
    """The last layer of neurons, or of ReLU in a twin, in ``network``."""
    neurons = [name for name in views if isinstance(network.get_submodule(name), (Neuron, nn.ReLU))]
    return _last(neurons, field)


def _last(names: list[str], field: str) -> str:
    if not names:
        raise ValueError(f"{field}: got a network without layers before its readout, allowed is one or more")
    return names[-1]


def alike(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Features of two networks at the same places: maps averaged to the smaller size, or vectors if either is one."""
    a, b = (x.mean(1) if x.dim() == 3 else x for x in (a, b))  # tokens (B, N, C)
    if a.dim() == b.dim() == 4:
        size = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
        return F.adaptive_avg_pool2d(a, size), F.adaptive_avg_pool2d(b, size)
    return a.flatten(2).mean(2) if a.dim() > 2 else a, b.flatten(2).mean(2) if b.dim() > 2 else b


class Projection(nn.Module):
    """The learned way from the pupil's features to the teacher's: 1 x 1 convolution, and restoration if blurred.

    Args:
        pupil, teacher: examples of features, `alike`.
        blur: fraction of places that are blanked before two convolutions restore them.
    """

    def __init__(self, pupil: Tensor, teacher: Tensor, blur: float) -> None:
        super().__init__()
        self.blur = blur
        wide = teacher.shape[1]
        layer: Any = partial(nn.Conv2d, padding="same") if pupil.dim() == 4 else nn.Linear
        sizes: tuple[Any, ...] = ((1,), (3,)) if pupil.dim() == 4 else ((), ())
        self.project = layer(pupil.shape[1], wide, *sizes[0])
        self.restore = nn.Sequential()
        if blur:
            self.restore.extend([layer(wide, wide, *sizes[1]), nn.ReLU(), layer(wide, wide, *sizes[1])])

    def forward(self, features: Tensor) -> Tensor:
        projected = self.project(features)
        return self.restore(blurred(projected, self.blur) if self.blur else projected)  # type: ignore[no-any-return]


def difference(projection: Projection, pupil: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference of the projected features of the pupil from the teacher's."""
    pupil, teacher = alike(pupil, teacher)
    with torch.autocast(pupil.device.type, enabled=False):
        return F.mse_loss(projection(pupil), teacher)
