"""A trained spiking network as plain arrays: what every export starts from, without torch and without SB3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # both import torch
    from snn4.policies.coding import CodingConfig
    from snn4.policies.neurons import NeuronConfig

Floats = NDArray[np.float32]

INPUT = "input"
"""The name by which layers refer to the network's input."""


class NotExportable(ValueError):
    """A part of a network that no export, or not this one, can express."""


class Dense(NamedTuple):
    """Synapses between all neurons of two layers."""

    weight: Floats
    """(n_out, n_in)."""
    bias: Floats
    """(n_out,), a current at every step."""


class Conv(NamedTuple):
    """A convolution, with zeros around its input; batch norms are folded into it."""

    weight: Floats
    """(C_out, C_in / groups, kH, kW), not flipped, as in torch."""
    bias: Floats
    """(C_out,), a current at every step."""
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


class Pool(NamedTuple):
    """Pooling of windows."""

    kind: Literal["average", "max"]
    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


class Flatten(NamedTuple):
    """(C, H, W) -> (C * H * W,), channels first, as in torch."""


class Rectify(NamedTuple):
    """ReLU of values, before the first neurons."""


class Add(NamedTuple):
    """The sum of several inputs."""


class Neurons(NamedTuple):
    """A layer of neurons."""

    config: NeuronConfig
    decay: Floats
    """Of the membrane, (1,) or, where it is learned, of a shape that broadcasts to the layer."""


Part = Dense | Conv | Pool | Flatten | Rectify | Add | Neurons


class Layer(NamedTuple):
    """A part of the network, and where its inputs come from."""

    name: str
    part: Part
    inputs: tuple[str, ...]
    """Names of earlier layers, or `INPUT`."""
    shape: tuple[int, ...]
    """Of its output at one step, for one sample: (n,) or (C, H, W)."""


@dataclass(frozen=True)
class Actions:
    """What the scores of a policy mean: the action of the largest one, or the values of a continuous action."""

    kind: Literal["discrete", "continuous"]
    low: tuple[float, ...] = ()
    """Bounds of each value of a continuous action, flattened."""
    high: tuple[float, ...] = ()
    shape: tuple[int, ...] = ()
    """Shape of a continuous action."""
    squashed: bool = False
    """Whether tanh bounds the scores, which are then stretched to the range (SAC, TD3), instead of clipped to it."""

    def chosen(self, scores: Floats) -> NDArray[Any]:
        """The actions (B, *shape) of ``scores`` (B, n)."""
        if self.kind == "discrete":
            return scores.argmax(1)
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        if self.squashed:
            actions = low + 0.5 * (np.tanh(scores) + 1) * (high - low)
        else:
            actions = scores.clip(low, high)
        return actions.reshape(len(scores), *self.shape)

    def agreement(self, actions: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
        """Of each of two lists of actions (B, …), (B,): whether they are equal, or 1 less their distance by the range.

        Ranges without bounds count as 2.
        """
        if self.kind == "discrete":
            return (actions == others).astype(np.float64)
        width = np.subtract(self.high, self.low)
        distance = np.abs(actions - others).reshape(len(actions), -1) / np.where(np.isfinite(width), width, 2.0)
        return 1 - distance.mean(1)


@dataclass(frozen=True)
class Description:
    """A trained network: scores = sum over t of readout[t] * (output of the last layer at step t).

    Every decision starts from rest and takes T steps. The last layer is linear (`Dense`), so it may also read the
    weighted sum of the spikes once.
    """

    layers: tuple[Layer, ...]
    """In order of computation."""
    input_shape: tuple[int, ...]
    """(n,) values of an observation, after flattening; or (C, H, W) of an image, normalised."""
    T: int
    readout: Floats
    """(T,), summing to 1."""
    coding: CodingConfig
    """The code of the input."""
    encode: Callable[[Floats], Floats]
    """The signal (T, B, …) of inputs (B, …); with the code ``direct``, (1, B, …), the same at every step."""
    actions: Actions | None = None
    """Of policies."""
    classes: tuple[str, ...] | None = None
    """Of classifiers, where they are known."""
    mean: tuple[float, ...] | None = None
    """Of each channel, subtracted from images in 0 to 1."""
    std: tuple[float, ...] | None = None
    """Of each channel; the difference is then divided by it."""

    @property
    def signal_shape(self) -> tuple[int, ...]:
        """Shape of the coded input at one step: of the first layer's input."""
        first = self.layers[0].part
        return (first.weight.shape[1],) if isinstance(first, Dense) else self.input_shape

    def neurons(self) -> list[Layer]:
        """The layers of neurons, in order."""
        return [layer for layer in self.layers if isinstance(layer.part, Neurons)]
