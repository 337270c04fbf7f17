"""Spiking convolutional networks: VGG and residual, one description for the network and its ANN twin."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor, nn

from snn4.policies.backends import make_neuron
from snn4.policies.network import SpikingResidual, SpikingSequential, State
from snn4.policies.neurons import NeuronConfig
from snn4.policies.normalization import StepNorm2d, threshold_norm

CHOICES: dict[str, tuple[str, ...]] = {
    "kind": ("vgg", "resnet"),
    "shortcut": ("sew", "ms"),
    "norm": ("batch", "threshold", "step", "none"),
    "pooling": ("avg", "max"),
    "stem": ("small", "large"),
    "head": ("average", "flatten"),
}


@dataclasses.dataclass(frozen=True)
class ConvNetConfig:
    """A spiking convolutional network for images, or for events in bins."""

    kind: Literal["vgg", "resnet"] = "vgg"
    """vgg: stages of convolution, norm, neuron, then pooling. resnet: a stem, then stages of residual blocks."""
    channels: tuple[int, ...] = (64, 128, 256)
    """Channels of each stage."""
    blocks: tuple[int, ...] | None = None
    """Convolutions (vgg) or residual blocks (resnet) of each stage; None is one each."""
    pools: tuple[int, ...] | None = None
    """Size of the pooling after each stage, 1 for none (vgg); None is 2 each."""
    pooling: Literal["avg", "max"] = "avg"
    shortcut: Literal["sew", "ms"] = "sew"
    """sew: adds the spikes of a block to those that enter it (spike-element-wise ADD, Fang et al. 2021). ms: adds
    currents before the neurons, so that a membrane's shortcut goes through the whole network (MS-ResNet, Hu et al.
    2024); where the shape changes its 1 x 1 convolution sees these real values, as in the paper."""
    stem: Literal["small", "large"] = "small"
    """First layer of a resnet: 3 x 3, or 7 x 7 with stride 2 and max pooling, for large images."""
    norm: Literal["batch", "threshold", "step", "none"] = "batch"
    """batch: over steps and samples. threshold: the same, scaled to the threshold (`threshold_norm`). step: each step's
    own statistics (`StepNorm2d`). none: convolutions have a bias instead."""
    head: Literal["average", "flatten"] = "average"
    """What the linear readout sees: each channel's mean, for images of any size, or all neurons of the last stage."""
    image_size: tuple[int, int] | None = None
    """Height and width of the images; None takes any (head: average)."""
    in_channels: int = 3
    """Channels of the images; 2 for events of two polarities."""
    n_classes: int = 10
    T: int = 4
    """Inner steps for an image; events bring their own number, for norm: step no more than this."""
    neuron: NeuronConfig = dataclasses.field(default_factory=NeuronConfig)

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are {', '.join(allowed)}")
        for name in ("in_channels", "n_classes", "T"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a whole number >= 1")
        for name in ("channels", "blocks", "pools"):
            sizes, n = getattr(self, name), len(self.channels)
            if sizes is not None and (not sizes or min(sizes) < 1 or len(sizes) != n):
                stages = f"{n} whole numbers >= 1, one for each stage of channels" if n else "one stage or more"
                raise ValueError(f"{name}: got {sizes}, allowed is {stages}")
        if self.image_size is None and self.head == "flatten":
            raise ValueError("image_size: got None, allowed is (height, width) for head: flatten")
        if self.image_size is not None and min(self.image_size) < self.smallest_side:
            raise ValueError(f"image_size: got {self.image_size}, allowed are sides >= {self.smallest_side}")
        if self.kind == "resnet" and self.pools is not None:
            raise ValueError(f"pools: got {self.pools}, allowed is None for kind: resnet, whose blocks have strides")

    @property
    def stages(self) -> list[tuple[int, int, int]]:
        """Channels, blocks and pooling of each stage."""
        n = len(self.channels)
        return list(zip(self.channels, self.blocks or (1,) * n, self.pools or (2,) * n, strict=True))

    @property
    def smallest_side(self) -> int:
        """Smallest height and width of an image that leaves something after all pooling."""
        return math.prod([pool for _, _, pool in self.stages]) if self.kind == "vgg" else 1

    @property
    def n_features(self) -> int:
        """Values that the linear readout sees."""
        if self.head == "average" or self.image_size is None:
            return self.channels[-1]
        halvings = len(self.channels) - 1 + (2 if self.stem == "large" else 0)
        scale = self.smallest_side if self.kind == "vgg" else 2**halvings
        # Pooling drops what does not fill a window, strided convolutions with padding do not.
        return self.channels[-1] * math.prod(
            side // scale if self.kind == "vgg" else math.ceil(side / scale) for side in self.image_size
        )

    def check_input(self, x: Tensor, dims: tuple[int, ...]) -> None:
        """ValueError unless ``x`` is a floating-point batch (…, B, C, H, W) of these dimensions that fits the network.

        Where ``image_size`` is given, its height and width must be those.
        """
        size, side = self.image_size, self.smallest_side
        shapes = " or ".join("(B, C, H, W)" if n == 4 else "(T, B, C, H, W)" for n in dims)
        if x.dim() not in dims or 0 in x.shape:
            raise ValueError(f"x: got shape {tuple(x.shape)}, allowed is {shapes}, each >= 1")
        if not x.is_floating_point():
            raise ValueError(f"x: got dtype {x.dtype}, allowed is a floating-point one; convert with .float()")
        if x.shape[-3] != self.in_channels:
            raise ValueError(f"x: got {x.shape[-3]} channels, allowed is in_channels ({self.in_channels})")
        if size is not None and tuple(x.shape[-2:]) != tuple(size):
            raise ValueError(f"x: got images of {tuple(x.shape[-2:])}, allowed is image_size ({tuple(size)})")
        if min(x.shape[-2:]) < side:
            raise ValueError(f"x: got images of {tuple(x.shape[-2:])}, allowed are sides >= {side}")


CONVNETS = {
    "vgg-small": ConvNetConfig(),
    "vgg-11": ConvNetConfig(channels=(64, 128, 256, 512, 512), blocks=(1, 1, 2, 2, 2)),
    "resnet-20": ConvNetConfig("resnet", (16, 32, 64), (3, 3, 3)),
    "resnet-18": ConvNetConfig("resnet", (64, 128, 256, 512), (2, 2, 2, 2)),
    "resnet-34": ConvNetConfig("resnet", (64, 128, 256, 512), (3, 4, 6, 3)),
}
"""Networks by name (Simonyan & Zisserman 2015, with one linear layer; He et al. 2016)."""


def named_convnet(name: str, **changes: Any) -> ConvNetConfig:
    """The network ``name`` of `CONVNETS` with some fields changed; ValueError for another name."""
    if name not in CONVNETS:
        raise ValueError(f"name: got {name!r}, allowed are {', '.join(CONVNETS)}")
    return dataclasses.replace(CONVNETS[name], **changes)


class SpikingConvNet(nn.Module):
    """Images (B, C, H, W), or events (T, B, C, H, W), -> class scores (B, n_classes): the mean over all steps.

    An image is a constant current (direct code): the first convolution runs once for all T steps. Neurons start at
    rest. Runs in channels_last as in the usual memory format, and under autocast.

    Args:
        config: the network.
        backend: whose neurons.
        checkpoint_steps: segments of so many steps, to save memory (`SpikingSequential`).

    Raises:
        ValueError: for an input of the wrong dimensions, type, channels or size, naming them.
    """

    def __init__(self, config: ConvNetConfig, backend: str = "torch", checkpoint_steps: int | None = None) -> None:
        super().__init__()
        self.config, self.backend = config, backend
        self.network = SpikingSequential(*_layers(config, backend), checkpoint_steps=checkpoint_steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[0].mean(0)

    def run(self, x: Tensor, state: State = None, steps: int | None = None) -> tuple[Tensor, State]:
        """Scores of each step (T, B, n_classes), and the last state.

        Args:
            x: images (B, C, H, W) or events (T, B, C, H, W).
            state: the state after earlier steps, to go on from there.
            steps: for images: how many, None for the config's T.
        """
        self.config.check_input(x, (4, 5))
        if x.dim() == 5:
            return self.network(x, state, steps)  # type: ignore[no-any-return]
        return self.network(x.unsqueeze(0), state, self.config.T if steps is None else steps)  # type: ignore[no-any-return]


def _layers(c: ConvNetConfig, backend: str) -> Iterator[nn.Module]:
    yield from _vgg(c, backend) if c.kind == "vgg" else _resnet(c, backend)
    if c.head == "average":
        yield nn.AdaptiveAvgPool2d(1)
    yield nn.Flatten()
    yield nn.Linear(c.n_features, c.n_classes)


def _vgg(c: ConvNetConfig, backend: str) -> Iterator[nn.Module]:
    width = c.in_channels
    for channels, blocks, pool in c.stages:
        for _ in range(blocks):
            yield from (*_synapses(c, width, channels), _neuron(c, channels, backend))
            width = channels
        if pool > 1:
            yield nn.AvgPool2d(pool) if c.pooling == "avg" else nn.MaxPool2d(pool)


def _resnet(c: ConvNetConfig, backend: str) -> Iterator[nn.Module]:
    width, large = c.channels[0], c.stem == "large"
    yield from _synapses(c, c.in_channels, width, kernel=7 if large else 3, stride=2 if large else 1)
    if c.shortcut == "sew":
        yield _neuron(c, width, backend)
    if large:
        yield nn.MaxPool2d(3, 2, 1)
    block = _sew_block if c.shortcut == "sew" else _ms_block
    for stage, (channels, blocks, _) in enumerate(c.stages):
        for number in range(blocks):
            yield block(c, width, channels, 2 if stage and not number else 1, backend)
            width = channels
    if c.shortcut == "ms":
        yield _neuron(c, width, backend)


def _sew_block(c: ConvNetConfig, width: int, channels: int, stride: int, backend: str) -> SpikingResidual:
    branch = [*_synapses(c, width, channels, stride=stride), _neuron(c, channels, backend)]
    branch += [*_synapses(c, channels, channels), _neuron(c, channels, backend)]
    shortcut: list[nn.Module] = []
    if stride > 1 or width != channels:
        shortcut = [*_synapses(c, width, channels, kernel=1, stride=stride), _neuron(c, channels, backend)]
    return SpikingResidual(SpikingSequential(*branch), SpikingSequential(*shortcut))


def _ms_block(c: ConvNetConfig, width: int, channels: int, stride: int, backend: str) -> SpikingResidual:
    alpha = math.sqrt(0.5)  # two currents are added
    branch = [_neuron(c, width, backend), *_synapses(c, width, channels, stride=stride)]
    branch += [_neuron(c, channels, backend), *_synapses(c, channels, channels, alpha=alpha)]
    shortcut: list[nn.Module] = []
    if stride > 1 or width != channels:
        shortcut = _synapses(c, width, channels, kernel=1, stride=stride, alpha=alpha)
    return SpikingResidual(SpikingSequential(*branch), SpikingSequential(*shortcut))


def _synapses(
    c: ConvNetConfig, width: int, channels: int, kernel: int = 3, stride: int = 1, alpha: float = 1.0
) -> list[nn.Module]:
    """Convolution and norm; ``alpha`` is the threshold norm's."""
    conv = nn.Conv2d(width, channels, kernel, stride, kernel // 2, bias=c.norm == "none")
    match c.norm:
        case "batch":
            return [conv, nn.BatchNorm2d(channels)]
        case "threshold":
            return [conv, threshold_norm(channels, c.neuron.v_threshold, alpha)]
        case "step":
            return [conv, StepNorm2d(channels, c.T)]
        case "none":
            return [conv]


def _neuron(c: ConvNetConfig, channels: int, backend: str) -> nn.Module:
    return make_neuron(c.neuron, backend, (channels, 1, 1))
