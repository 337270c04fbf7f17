"""Hybrids: an ANN front end with a spiking network behind it, or a spiking network with an ANN head."""

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
    """Ordinary layers before or after the stages of a spiking convolutional network."""

    kind: Literal["ann-front", "ann-head"] = "ann-front"
    """ann-front: the maps of an ordinary front end are the currents of the first spiking stage; for an image, the front
    end runs once for all T steps. ann-head: ordinary layers, instead of one linear readout, see the spikes of the last
    stage."""
    front: str = SMALL
    """The front end (ann-front): small, with stages of front_channels, or a classifier of torchvision, such as
    resnet18."""
    layer: str = "layer2"
    """The last layer that is used of torchvision's model, such as layer2 or features.4."""
    front_channels: tuple[int, ...] = (32,)
    """Channels of each stage of a small front end: convolution, norm, ReLU, pooling by 2."""
    weights: str | None = None
    """Weights of the front end: a .safetensors or .pt file with a state dict, which is read whenever the network is
    built, or DEFAULT, which torchvision downloads. The state dict may be that of the front end, of a whole torchvision
    model, or of a trained hybrid or its twin. Images should be normalized like the images that the weights were trained
    on."""
    frozen: bool = False
    """Whether the front end, with the statistics of its norms, does not change."""
    channels: tuple[int, ...] = (64, 128)
    """Channels of each spiking stage: convolution, norm, neurons, pooling."""
    pools: tuple[int, ...] | None = None
    """Size of the pooling after each spiking stage; 1 is no pooling, None is 2 per stage."""
    pooling: Literal["avg", "max"] = "avg"
    """Whether pooling takes the mean or the maximum of its values."""
    norm: Literal["batch", "none"] = "batch"
    """Norm after each convolution, over steps and samples; none is more stable in reinforcement learning."""
    head: Literal["average", "flatten"] = "average"
    """Output of the last spiking stage: the mean of each channel, for images of any size, or all neurons."""
    hidden: tuple[int, ...] = (128,)
    """Widths of the ordinary layers between spikes and scores (ann-head)."""
    readout: Literal["rate", "membrane"] = "rate"
    """Input of the ordinary layers at each step (ann-head): the mean of all spikes so far, or a leaky sum of them."""
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
        defaults = {"front": SMALL, "weights": None, "frozen": False}
        for name, default in defaults.items() if self.kind == "ann-head" else ():
            if getattr(self, name) != default:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed is {default!r} with kind: ann-head")
        if self.front == SMALL and self.weights == "DEFAULT":
            raise ValueError(f"weights: got 'DEFAULT', allowed is a file, or None, with front: {SMALL}")
        if self.image_size is not None and min(self.image_size) < self.smallest_side:
            raise ValueError(f"image_size: got {self.image_size}, allowed are sides >= {self.smallest_side}")
        self.spiking(self.in_channels, self.image_size)  # checks the fields of the spiking stages

    @property
    def smallest_side(self) -> int:
        """Smallest height and width of an image from which pooling leaves a pixel, not counting torchvision's model."""
        front = 2 ** len(self.front_channels) if self.kind == "ann-front" and self.front == SMALL else 1
        return front * self.spiking(1, None, head="average").smallest_side

    def spiking(self, in_channels: int, image_size: tuple[int, int] | None, **changes: Any) -> ConvNetConfig:
        """The config of the spiking stages for maps of ``in_channels``, with a linear readout."""
        names = {field.name for field in dataclasses.fields(ConvNetConfig)} - {"kind"}
        shared = {name: value for name, value in vars(self).items() if name in names}
        return ConvNetConfig(**{**shared, "in_channels": in_channels, "image_size": image_size, **changes})


HYBRIDS: dict[str, ClassifierConfig] = {
    "hybrid-small": HybridConfig(),
    "hybrid-resnet18": HybridConfig(front="resnet18", channels=(256,)),
    "hybrid-mobilenet": HybridConfig(front="mobilenet_v3_small", layer="features.3", channels=(96, 192)),
    "hybrid-ann-head": HybridConfig("ann-head", channels=(64, 128, 256)),
}
"""Hybrids by name. Weights are drawn at random unless a file or DEFAULT is given."""


class Hybrid(SpikingClassifier):
    """The `SpikingClassifier` of a `HybridConfig`, with neurons of ``backend``.

    Args:
        front: any module (B, C, H, W) -> (B, C', H', W'), in place of the front end of the config (ann-front).

    Raises:
        ValueError: for a model, layer or file that does not exist, and for images that the network cannot take; the
            message names the field of the config.
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
            raise ValueError("front: got a module, allowed is none with kind: ann-head")
        layers = _with_ann_head(config, backend) if head else _with_ann_front(config, backend, front)
        super().__init__(config, layers, checkpoint_steps)


class RunningMean(Stateful):
    """The mean of all steps so far: ``(x (T, B, …), state) -> (y (T, B, …), state)``, summed in float32 or wider.

    The state is the sum and the number of the previous steps. Running one step at a time gives the same result as
    running all steps at once.

    Raises:
        ValueError: for a state that does not have the shape of a step of ``x``.
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
        """The identity: without time, there is only one value."""
        return nn.Identity()


def _with_ann_front(c: HybridConfig, backend: str, module: nn.Module | None) -> Iterator[nn.Module]:
    front = _front_end(c) if module is None else FrontEnd(module, c.frozen, learned=True)
    # Without image_size, ImageNet's size, which every model takes, gives the number of channels.
    channels, *size = front.shape_of((c.in_channels, *(c.image_size or (224, 224))))
    side = c.spiking(channels, None, head="average").smallest_side
    if c.image_size is not None and min(size) < side:
        raise ValueError(
            f"image_size: got {c.image_size}, of which the front end leaves {tuple(size)}, allowed are images of which "
            f"it leaves sides >= {side}"
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
