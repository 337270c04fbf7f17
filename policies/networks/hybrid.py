"""Hybrids: an ANN that sees and spikes that decide, or spikes that see and an ANN that decides."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from snn4.policies.backends import make_neuron
from snn4.policies.dynamics import state_dtype
from snn4.policies.network import State, Stateful, checked_steps
from snn4.policies.networks.classifier import ClassifierConfig, SpikingClassifier
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.networks.front_end import SMALL, FrontEnd, load_weights, torchvision_front
from snn4.policies.neurons import NeuronConfig
from snn4.policies.normalization import BatchNorm2d


@dataclasses.dataclass(frozen=True)
class HybridConfig(ClassifierConfig):
    """Ordinary layers before the stages of a spiking convolutional network, or after them."""

    kind: Literal["ann-front", "ann-head"] = "ann-front"
    """ann-front: the maps of an ordinary front end are currents for the first spiking stage; for an image it runs once
    for all T steps. ann-head: ordinary layers, instead of one linear readout, see what the last stage spikes."""
    front: str = SMALL
    """The front end (ann-front): small, stages of its own, or a classifier of torchvision, such as resnet18."""
    layer: str = "layer2"
    """The last layer of torchvision's model that is used: layer2, features.4."""
    front_channels: tuple[int, ...] = (32,)
    """Channels of each stage of a small front end: convolution, norm, ReLU, pooling by 2."""
    weights: str | None = None
    """Weights of the front end: a .safetensors or .pt file with a state dict, read whenever the network is made (of the
    front end, of a whole torchvision model, or of a hybrid or its twin, as a training leaves it), or DEFAULT, which
    torchvision downloads. Images should be normalised as those that they have learned from."""
    frozen: bool = False
    """Whether the front end stays as it is; its norms' statistics, too."""
    channels: tuple[int, ...] = (64, 128)
    """Channels of each spiking stage: convolution, norm, neurons, pooling."""
    pools: tuple[int, ...] | None = None
    """Size of the pooling after each spiking stage, 1 for none; None is 2 each."""
    pooling: Literal["avg", "max"] = "avg"
    """What takes the place of pooled values: their mean or their maximum."""
    norm: Literal["batch", "none"] = "batch"
    """After each convolution, over steps and samples; none is steadier in reinforcement learning."""
    head: Literal["average", "flatten"] = "average"
    """What of the last spiking stage is read: each channel's mean, for images of any size, or all neurons."""
    hidden: tuple[int, ...] = (128,)
    """Widths of the ordinary layers between spikes and scores (ann-head)."""
    readout: Literal["rate", "membrane"] = "rate"
    """What the ordinary layers see at each step (ann-head): the mean of all spikes so far, or a leaky sum of them."""
    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        "kind": ("ann-front", "ann-head"),
        "pooling": ("avg", "max"),
        "norm": ("batch", "none"),
        "head": ("average", "flatten"),
        "readout": ("rate", "membrane"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("front_channels", "channels", "hidden"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1:
                raise ValueError(f"{name}: got {sizes}, allowed are one or more whole numbers >= 1")
        plain = {"front": SMALL, "weights": None, "frozen": False}
        for name, default in plain.items() if self.kind == "ann-head" else ():
            if getattr(self, name) != default:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed is {default!r} for kind: ann-head")
        if self.front == SMALL and self.weights == "DEFAULT":
            raise ValueError(f"weights: got 'DEFAULT', allowed is a file, or None, for front: {SMALL}")
        if self.image_size is not None and min(self.image_size) < self.smallest_side:
            raise ValueError(f"image_size: got {self.image_size}, allowed are sides >= {self.smallest_side}")
        self.spiking(self.in_channels, self.image_size)  # the spiking stages have checks of their own

    @property
    def smallest_side(self) -> int:
        """Smallest height and width of an image that leaves something after all pooling; torchvision's model apart."""
        front = 2 ** len(self.front_channels) if self.kind == "ann-front" and self.front == SMALL else 1
        return front * self.spiking(1, None, head="average").smallest_side

    def spiking(self, in_channels: int, image_size: tuple[int, int] | None, **changes: Any) -> ConvNetConfig:
        """The spiking stages for maps of ``in_channels``, with a linear readout."""
        names = {field.name for field in dataclasses.fields(ConvNetConfig)} - {"kind"}
        shared = {name: value for name, value in vars(self).items() if name in names}
        return ConvNetConfig(**{**shared, "in_channels": in_channels, "image_size": image_size, **changes})


HYBRIDS: dict[str, ClassifierConfig] = {
    "hybrid-small": HybridConfig(),
    "hybrid-resnet18": HybridConfig(front="resnet18", channels=(256,)),
    "hybrid-mobilenet": HybridConfig(front="mobilenet_v3_small", layer="features.3", channels=(96, 192)),
    "hybrid-ann-head": HybridConfig("ann-head", channels=(64, 128, 256)),
}
"""Hybrids by name. Weights are drawn unless a file, or DEFAULT, is given."""


class Hybrid(SpikingClassifier):
    """The `SpikingClassifier` of a `HybridConfig`, with neurons of ``backend``.

    Args:
        front: a front end of one's own, any module with maps (B, C, H, W) -> (B, C', H', W'), in place of the config's
            (ann-front).

    Raises:
        ValueError: naming the config's field, for a model, layer or file that is not there, and for images that the
            network cannot take.
    """

    def __init__(
        self,
        config: HybridConfig,
        backend: str = "torch",
        checkpoint_steps: int | None = None,
        front: nn.Module | None = None,
    ) -> None:
        head = config.kind == "ann-head"
        if head and front is not None:
            raise ValueError("front: got a module, allowed is none for kind: ann-head")
        layers = _with_ann_head(config, backend) if head else _with_ann_front(config, backend, front)
        super().__init__(config, layers, checkpoint_steps)


class RunningMean(Stateful):
    """The mean of all steps so far: ``(x (T, B, …), state) -> (y (T, B, …), state)``, summed in float32 or wider.

    The state is the sum of the steps before, and their number. One step at a time gives what all at once do.

    Raises:
        ValueError: a state of other samples than ``x``.
    """

    def forward(self, x: Tensor, state: State = None, steps: int | None = None) -> tuple[Tensor, State]:
        steps = checked_steps(x, steps)
        before, n = state or (x.new_zeros(x.shape[1:]), 0)
        if before.shape != x.shape[1:]:
            raise ValueError(f"state: got shape {tuple(before.shape)}, allowed is {tuple(x.shape[1:])}, that of a step")
        sums = before + x.to(state_dtype(x)).expand(steps, *x.shape[1:]).cumsum(0)
        numbers = torch.arange(n + 1, n + steps + 1, device=x.device, dtype=sums.dtype)
        return (sums / numbers.view(-1, *[1] * (x.dim() - 1))).to(x.dtype), (sums[-1], n + steps)

    def without_time(self) -> nn.Module:
        """Without time there is nothing to take the mean of."""
        return nn.Identity()


def _with_ann_front(c: HybridConfig, backend: str, own: nn.Module | None) -> Iterator[nn.Module]:
    front = _front_end(c) if own is None else FrontEnd(own, c.frozen, learned=True)
    # Any model takes the images of ImageNet; where sizes do not matter, its channels do.
    channels, *size = front.shape_of((c.in_channels, *(c.image_size or (224, 224))))
    side = c.spiking(channels, None, head="average").smallest_side
    if c.image_size is not None and min(size) < side:
        raise ValueError(
            f"image_size: got {c.image_size}, of which the front end leaves {tuple(size)}, allowed are images that "
            f"leave sides >= {side}"
        )
    spiking = c.spiking(channels, (size[0], size[1]) if c.image_size else None)
    yield front
    yield from SpikingConvNet(spiking, backend).network


def _front_end(c: HybridConfig) -> FrontEnd:
    learned = c.weights is not None
    if c.front != SMALL:
        return FrontEnd(torchvision_front(c.front, c.layer, c.in_channels, c.weights), c.frozen, learned)
    layers = nn.Sequential()
    for a, b in itertools.pairwise((c.in_channels, *c.front_channels)):
        layers.append(nn.Conv2d(a, b, 3, padding=1, bias=c.norm == "none"))
        if c.norm == "batch":
            layers.append(BatchNorm2d(b))
        layers.extend([nn.ReLU(), nn.AvgPool2d(2) if c.pooling == "avg" else nn.MaxPool2d(2)])
    if c.weights is not None:
        load_weights(layers, c.weights)
    return FrontEnd(layers, c.frozen, learned)


def _with_ann_head(c: HybridConfig, backend: str) -> Iterator[nn.Module]:
    *stages, readout = SpikingConvNet(c.spiking(c.in_channels, c.image_size), backend).network
    n_features: Any = readout.in_features
    trace = NeuronConfig(kind="li", tau_mem=c.neuron.tau_mem, dt=c.neuron.dt)
    yield from stages
    yield RunningMean() if c.readout == "rate" else make_neuron(trace, backend, (n_features,))
    for a, b in itertools.pairwise((n_features, *c.hidden)):
        yield from (nn.Linear(a, b), nn.ReLU())
    yield nn.Linear(c.hidden[-1], c.n_classes)
