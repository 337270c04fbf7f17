"""Signals in other units: the same network, in which weights have taken up the factors of the inputs of neurons.

A chip or a format often has a factor at the input of its neurons that differs from this project's. Synapses before the
neurons take it up exactly, because all between synapses and neurons is linear: sums, average pooling, flattening. Where
a signal has no synapses before it (spikes, and the input itself), its unit is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.description import INPUT, Add, Conv, Dense, Flatten, Layer, Neurons, Part, Pool, Rectify

Doubles = NDArray[np.float64]


class Rescaled(NamedTuple):
    """The same network in other units."""

    layers: tuple[Layer, ...]
    """With weights in float64."""
    remaining: dict[str, Doubles]
    """By layer of neurons: what its inputs still have to be multiplied by, () or of the shape of the layer."""
    changed: frozenset[str]
    """Pooling layers that now have their gain."""


class _Tied(NamedTuple):
    """Signals whose units depend on each other, because no synapses stand between them."""

    factors: dict[str, float]
    """Scale of each, as a multiple of the common one."""
    changed: frozenset[str]


def rescale(
    layers: tuple[Layer, ...], input_shape: tuple[int, ...], wishes: Mapping[str, Doubles], gains: Mapping[str, float]
) -> Rescaled:
    """Scale signals so that the inputs of neurons are multiplied by their ``wishes``.

    Args:
        layers: of the network.
        input_shape: of the network's input at one step, which keeps its unit, as do all spikes and the last layer.
        wishes: by layer of neurons, an array that broadcasts to its shape.
        gains: by pooling layer, the factor of its output if the new network pools in another way. Where signals are
            tied such that it is impossible, the layer keeps its way.
    """
    shapes = {INPUT: input_shape, **{layer.name: layer.shape for layer in layers}}
    fixed = {INPUT, layers[-1].name, *(layer.name for layer in layers if isinstance(layer.part, Neurons))}
    scales: dict[str, Doubles] = {}
    changed: set[str] = set()
    for tied in _all_tied(layers, gains, fixed):
        common = _common(tied, layers, shapes, wishes, fixed)
        scales |= {name: factor * common for name, factor in tied.factors.items()}
        changed |= tied.changed
    new = tuple(layer._replace(part=_scaled(layer, scales)) for layer in layers)
    remaining = {
        layer.name: _constant(wishes[layer.name] / _spread(scales[layer.inputs[0]], layer.shape))
        for layer in layers
        if layer.name in wishes
    }
    return Rescaled(new, remaining, frozenset(changed))


def _all_tied(layers: tuple[Layer, ...], gains: Mapping[str, float], fixed: set[str]) -> Iterator[_Tied]:
    """All signals, in groups that are tied to each other."""
    links: dict[str, list[tuple[str, str, int]]] = {INPUT: [], **{layer.name: [] for layer in layers}}
    for layer in layers:
        if isinstance(layer.part, (Add, Pool, Flatten, Rectify)):
            for source in layer.inputs:
                links[source].append((layer.name, layer.name, 1))
                links[layer.name].append((source, layer.name, -1))
    seen: set[str] = set()
    for name in links:
        if name not in seen:
            tied = _tied(name, links, gains, fixed) or _tied(name, links, {}, fixed)
            assert tied is not None  # without gains, all factors are 1
            seen |= tied.factors.keys()
            yield tied


def _tied(
    first: str, links: Mapping[str, list[tuple[str, str, int]]], gains: Mapping[str, float], fixed: set[str]
) -> _Tied | None:
    """What is tied to ``first``; None if the gains contradict each other, or what is fixed."""
    factors, waiting, used = {first: 1.0}, [first], set()
    while waiting:
        name = waiting.pop()
        for other, owner, direction in links[name]:
            factor = factors[name] * gains.get(owner, 1.0) ** direction
            used |= {owner} & gains.keys()
            if other not in factors:
                factors[other] = factor
                waiting.append(other)
            elif not np.isclose(factors[other], factor, rtol=1e-9):
                return None
    ends = [factors[name] for name in factors if name in fixed]
    return _Tied(factors, frozenset(used)) if not ends or np.allclose(ends, ends[0], rtol=1e-9) else None


def _common(
    tied: _Tied, layers: tuple[Layer, ...], shapes: Mapping[str, tuple[int, ...]], wishes: Mapping[str, Doubles],
    fixed: set[str],
) -> Doubles:  # fmt: skip
    """Scale of all signals in ``tied``: () or one for each channel."""
    for name, factor in tied.factors.items():
        if name in fixed:
            return np.array(1 / factor)
    channels = min(shapes[name][0] for name in tied.factors)
    for layer in layers:
        if layer.name in wishes and layer.inputs[0] in tied.factors:
            wish = np.broadcast_to(wishes[layer.name], layer.shape).reshape(channels, -1)
            wish = wish / tied.factors[layer.inputs[0]]
            return _constant(wish[:, 0] if (wish == wish[:, :1]).all() else np.array(wish.mean()))
    return np.array(1.0)


def _scaled(layer: Layer, scales: Mapping[str, Doubles]) -> Part:
    if not isinstance(layer.part, (Dense, Conv)):
        return layer.part
    out, into = scales[layer.name], scales[layer.inputs[0]]
    weight: NDArray[np.float64] = layer.part.weight.astype(np.float64)
    n_out, n_in, *kernel = weight.shape
    rows = _spread(out, (n_out,))
    if isinstance(layer.part, Conv):
        columns = _spread(into, (n_in * layer.part.groups,)).reshape(layer.part.groups, n_in)
        columns = columns.repeat(n_out // layer.part.groups, axis=0)
    else:
        columns = _spread(into, (n_in,))[None]
    factors = (rows[:, None] / columns).reshape(n_out, n_in, *(1,) * len(kernel))
    return layer.part._replace(weight=weight * factors, bias=layer.part.bias * rows)  # type: ignore[arg-type]


def _spread(scale: Doubles, shape: tuple[int, ...]) -> Doubles:
    """The scale of each element of a signal of ``shape``, of channels first."""
    size = int(np.prod(shape))
    return np.broadcast_to(scale, shape) if scale.ndim == 0 else scale.repeat(size // scale.size).reshape(shape)


def _constant(values: Doubles) -> Doubles:
    """``values``, as () if all are the same."""
    return np.array(values.flat[0]) if (values == values.flat[0]).all() else np.ascontiguousarray(values)
