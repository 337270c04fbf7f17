"""Spiking convolutional networks, VGG and residual, with one config for the network and its ANN twin."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from torch import nn

from snn4.policies.backends import make_neuron
from snn4.policies.gene import Choice, Gene
from snn4.policies.network import SpikingResidual, SpikingSequential
from snn4.policies.networks.classifier import ClassifierConfig, SpikingClassifier
from snn4.policies.networks.whitening import PATCH, WhiteningConv2d
from snn4.policies.neurons import PROFILES
from snn4.policies.normalization import BatchNorm2d, StepNorm2d, threshold_norm


@dataclasses.dataclass(frozen=True)
class ConvNetConfig(ClassifierConfig):
    """A spiking convolutional network for images, or for events in bins."""

    kind: Literal["vgg", "resnet"] = "vgg"
    """vgg: stages of convolution, norm and neurons, each followed by pooling. resnet: a stem and stages of residual
    blocks."""
    channels: Annotated[tuple[int, ...], Gene(8, 512, log=True, form=True)] = (64, 128, 256)
    """Channels of each stage."""
    blocks: tuple[int, ...] | None = None
    """Convolutions (vgg) or residual blocks (resnet) of each stage; None is 1 per stage."""
    pools: tuple[int, ...] | None = None
    """Size of the pooling after each stage (vgg); 1 is no pooling, None is 2 per stage."""
    pooling: Literal["avg", "max"] = "avg"
    """Whether pooling takes the mean or the maximum of its values."""
    shortcut: Annotated[Literal["sew", "ms"], Choice(("sew", "ms"), only="resnet", form=True)] = "sew"
    """sew: adds the spikes of a block to its input spikes (spike-element-wise ADD, Fang et al. 2021). ms: adds currents
    before the neurons, so a shortcut of membranes runs through the whole network (MS-ResNet, Hu et al. 2024). Where the
    shape changes, the 1 x 1 convolution of the shortcut sees these real values, as in the paper. With ms, the last norm
    of each branch starts at 0, so a block starts as its shortcut."""
    pooled: Literal["spikes", "currents"] = "spikes"
    """What is pooled (vgg): the spikes of a stage, or the currents of its first convolution before the norm. Pooled
    currents need fewer neurons and so cost less, and synapses see only single spikes."""
    stem: Literal["small", "large", "whitening"] = "small"
    """small: the first convolution is 3 x 3. large: for large images (resnet), the first convolution is 7 x 7 with
    stride 2, followed by max pooling (sew) or by a first stage with stride 2, like the other stages (ms, whose stem has
    no neurons and so no spikes to pool). whitening: the first convolution sees whitened patches of 2 x 2 after a ReLU
    (`whitening.WhiteningConv2d`), computed once for all steps."""
    norm: Annotated[Literal["batch", "threshold", "step", "none"], Choice(("batch", "threshold"), form=True)] = "batch"
    """batch: statistics over steps and samples. threshold: the same, scaled to the threshold (`threshold_norm`). step:
    separate statistics for each step (`StepNorm2d`). none: no norm; convolutions have a bias instead."""
    head: Literal["average", "flatten"] = "average"
    """Input of the linear readout: the mean of each channel, for images of any size, or all neurons of the last
    stage."""
    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        "kind": ("vgg", "resnet"),
        "shortcut": ("sew", "ms"),
        "norm": ("batch", "threshold", "step", "none"),
        "pooling": ("avg", "max"),
        "pooled": ("spikes", "currents"),
        "stem": ("small", "large", "whitening"),
        "head": ("average", "flatten"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("channels", "blocks", "pools"):
            sizes, n = getattr(self, name), len(self.channels)
            if sizes is not None and (not sizes or min(sizes) < 1 or len(sizes) != n):
                stages = f"{n} whole numbers >= 1, one for each stage of channels" if n else "one stage or more"
                raise ValueError(f"{name}: got {sizes}, allowed is {stages}")
        if self.image_size is None and self.head == "flatten":
            raise ValueError("image_size: got None, allowed is (height, width) with head: flatten")
        if self.image_size is not None and min(self.image_size) < self.smallest_side:
            raise ValueError(f"image_size: got {self.image_size}, allowed are sides >= {self.smallest_side}")
        if self.kind == "resnet" and self.pools is not None:
            raise ValueError(f"pools: got {self.pools}, allowed is None with kind: resnet, whose blocks have strides")
        for name, value, kind in (("pooled", "currents", "vgg"), ("stem", "large", "resnet")):
            if getattr(self, name) == value and self.kind != kind:
                raise ValueError(f"{name}: {value} is not allowed with kind: {self.kind}; set kind: {kind}")

    @property
    def stages(self) -> list[tuple[int, int, int]]:
        """Channels, blocks and pooling of each stage."""
        n = len(self.channels)
        return list(zip(self.channels, self.blocks or (1,) * n, self.pools or (2,) * n, strict=True))

    @property
    def smallest_side(self) -> int:
        """Smallest height and width of an image from which pooling leaves at least one pixel."""
        pooled = math.prod([pool for _, _, pool in self.stages]) if self.kind == "vgg" else 1
        return pooled + self.border

    @property
    def border(self) -> int:
        """Pixels by which the stem reduces the height and width of images."""
        return PATCH - 1 if self.stem == "whitening" else 0

    @property
    def n_features(self) -> int:
        """Number of inputs of the linear readout."""
        if self.head == "average" or self.image_size is None:
            return self.channels[-1]
        halvings = len(self.channels) - 1 + (2 if self.stem == "large" else 0)
        scale = self.smallest_side - self.border if self.kind == "vgg" else 2**halvings
        # Pooling drops pixels that do not fill a window; strided convolutions with padding keep them.
        return self.channels[-1] * math.prod(
            side // scale if self.kind == "vgg" else math.ceil(side / scale)
            for side in (length - self.border for length in self.image_size)
        )


def _ms_resnet(*blocks: int) -> ConvNetConfig:
    return ConvNetConfig(
        "resnet", (64, 128, 256, 512), blocks, shortcut="ms", stem="large", norm="threshold", n_classes=1000, T=6,
        neuron=PROFILES["ms-resnet"],
    )  # fmt: skip


CONVNETS = {
    "vgg-small": ConvNetConfig(),
    "vgg-11": ConvNetConfig(channels=(64, 128, 256, 512, 512), blocks=(1, 1, 2, 2, 2)),
    "resnet-20": ConvNetConfig("resnet", (16, 32, 64), (3, 3, 3)),
    "resnet-18": ConvNetConfig("resnet", (64, 128, 256, 512), (2, 2, 2, 2)),
    "resnet-34": ConvNetConfig("resnet", (64, 128, 256, 512), (3, 4, 6, 3)),
    "ms-resnet-18": _ms_resnet(2, 2, 2, 2),
    "ms-resnet-34": _ms_resnet(3, 4, 6, 3),
}
"""Networks by name (Simonyan & Zisserman 2015, with one linear layer; He et al. 2016; Hu et al. 2024, for ImageNet)."""


def named_convnet(name: str, **changes: Any) -> ConvNetConfig:
    """The config ``name`` of `CONVNETS` with ``changes`` of fields; ValueError for an unknown name."""
    if name not in CONVNETS:
        raise ValueError(f"name: got {name!r}, allowed are {', '.join(CONVNETS)}")
    return dataclasses.replace(CONVNETS[name], **changes)


class SpikingConvNet(SpikingClassifier):
    """The `SpikingClassifier` of a `ConvNetConfig`, with neurons of ``backend``."""

    def __init__(self, config: ConvNetConfig, backend: str = "torch", checkpoint_steps: int | None = None) -> None:
        super().__init__(config, _layers(config, backend), checkpoint_steps)


def _layers(c: ConvNetConfig, backend: str) -> Iterator[nn.Module]:
    width = c.in_channels
    if c.stem == "whitening":
        whitening = WhiteningConv2d(c.in_channels)
        yield from (whitening, nn.ReLU())
        width = whitening.out_channels
    yield from _vgg(c, width, backend) if c.kind == "vgg" else _resnet(c, width, backend)
    if c.head == "average":
        yield nn.AdaptiveAvgPool2d(1)
    yield nn.Flatten()
    yield nn.Linear(c.n_features, c.n_classes)


def _vgg(c: ConvNetConfig, width: int, backend: str) -> Iterator[nn.Module]:
    for channels, blocks, pool in c.stages:
        pooling = [] if pool == 1 else [nn.AvgPool2d(pool) if c.pooling == "avg" else nn.MaxPool2d(pool)]
        for number in range(blocks):
            conv, *norm = _synapses(c, width, channels)
            between = pooling if c.pooled == "currents" and number == 0 else []
            yield from (conv, *between, *norm, _neuron(c, channels, backend))
            width = channels
        if c.pooled == "spikes":
            yield from pooling


def _resnet(c: ConvNetConfig, input_width: int, backend: str) -> Iterator[nn.Module]:
    width, large = c.channels[0], c.stem == "large"
    yield from _synapses(c, input_width, width, kernel=7 if large else 3, stride=2 if large else 1)
    if c.shortcut == "sew":
        yield _neuron(c, width, backend)
    if large and c.shortcut == "sew":
        yield nn.MaxPool2d(3, 2, 1)
    block = _sew_block if c.shortcut == "sew" else _ms_block
    halved_first = large and c.shortcut == "ms"
    for stage, (channels, blocks, _) in enumerate(c.stages):
        for number in range(blocks):
            yield block(c, width, channels, 2 if (stage or halved_first) and not number else 1, backend)
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
    branch = [_neuron(c, width, backend), *_synapses(c, width, channels, stride=stride)]
    branch += [_neuron(c, channels, backend), *_synapses(c, channels, channels)]
    if c.norm != "none":
        nn.init.zeros_(branch[-1].weight)  # type: ignore[arg-type]
    shortcut: list[nn.Module] = []
    if stride > 1 or width != channels:
        shortcut = _synapses(c, width, channels, kernel=1, stride=stride)
    return SpikingResidual(SpikingSequential(*branch), SpikingSequential(*shortcut))


def _synapses(c: ConvNetConfig, width: int, channels: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """Convolution and norm."""
    conv = nn.Conv2d(width, channels, kernel, stride, kernel // 2, bias=c.norm == "none")
    match c.norm:
        case "batch":
            return [conv, BatchNorm2d(channels)]
        case "threshold":
            return [conv, threshold_norm(channels, c.neuron.v_threshold)]
        case "step":
            return [conv, StepNorm2d(channels, c.T)]
        case "none":
            return [conv]


def _neuron(c: ConvNetConfig, channels: int, backend: str) -> nn.Module:
    return make_neuron(c.neuron, backend, (channels, 1, 1))
