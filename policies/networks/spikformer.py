"""Spiking transformers, with one config for all: Spikformer, Spikingformer and the Spike-driven Transformer."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from torch import nn

from snn4.policies.backends import make_neuron
from snn4.policies.network import SpikingResidual, SpikingSequential
from snn4.policies.networks.attention import SelfAttention, SpikeDrivenAttention
from snn4.policies.networks.classifier import ClassifierConfig, SpikingClassifier
from snn4.policies.neurons import Neuron
from snn4.policies.normalization import BatchNorm2d


@dataclasses.dataclass(frozen=True)
class SpikformerConfig(ClassifierConfig):
    """A convolutional stem turns an image into tokens. Blocks of attention and of two layers per token encode them.

    Every convolution has a batch norm over steps, samples and tokens. The convolutions of the blocks are 1 x 1.
    """

    kind: Literal["spikformer", "spikingformer", "spike-driven-transformer"] = "spikformer"
    """spikformer (Zhou et al. 2023, ICLR): neurons after synapses; a block adds its spikes to its input spikes, so
    synapses see sums of spikes. spikingformer (Zhou et al. 2023, arXiv 2304.11954): neurons before synapses; a block
    adds its currents to its input currents, so synapses see only spikes. spike-driven-transformer (Yao et al. 2023):
    the same with `SpikeDrivenAttention`, and with neurons before the readout."""
    depth: int = 4
    """Encoder blocks."""
    width: int = 256
    """Channels per token."""
    heads: int = 8
    """Heads of the attention. They do not change spike-driven attention, which works channel by channel."""
    mlp_ratio: float = 4.0
    """Neurons between the two layers per token, as a multiple of ``width``."""
    channels: tuple[int, ...] | None = None
    """Channels of each stage of the stem, of 3 x 3 convolutions; the last is ``width``, C. None gives C/8, C/4, C/2, C,
    as in the papers. A further convolution of C channels follows, the relative position embedding."""
    pools: tuple[int, ...] = (1, 1, 2, 2)
    """Stride of the max pooling (3 x 3) after each stage; 1 is no pooling. The default turns 32 x 32 pixels into 8 x 8
    tokens."""
    pooled: Literal["spikes", "currents"] = "spikes"
    """What is pooled: the spikes of a stage, as in the papers, or its currents before the norm. The maximum of several
    spikes carries little information, and its gradient goes to any one of them (after Zhou et al. 2023,
    arXiv 2305.05954)."""
    scale: float = 0.125
    """Factor of the products of self-attention."""
    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        "kind": ("spikformer", "spikingformer", "spike-driven-transformer"),
        "pooled": ("spikes", "currents"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("depth", "width", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a whole number >= 1")
        for name in ("mlp_ratio", "scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a finite number > 0")
        if self.width % self.heads:
            raise ValueError(f"heads: got {self.heads}, allowed are divisors of width ({self.width})")
        self._check_stem()
        if self.neuron.v_reset >= self.attention_threshold:
            raise ValueError(
                f"neuron.v_reset: got {self.neuron.v_reset}, allowed is a value below half of v_threshold "
                f"({self.attention_threshold}), the threshold of attention"
            )

    def _check_stem(self) -> None:
        if self.channels is None and self.width % 8:
            raise ValueError(f"width: got {self.width}, allowed are multiples of 8 if channels is None")
        if not self.stem or min(self.stem) < 1 or self.stem[-1] != self.width:
            raise ValueError(
                f"channels: got {self.channels}, allowed are whole numbers >= 1, the last equal to width ({self.width})"
            )
        if len(self.pools) != len(self.stem) or not set(self.pools) <= {1, 2}:
            raise ValueError(
                f"pools: got {self.pools}, allowed is 1 or 2 for each of the {len(self.stem)} stages of the stem"
            )
        if self.image_size is not None and min(self.image_size) < self.smallest_side:
            raise ValueError(f"image_size: got {self.image_size}, allowed are sides >= {self.smallest_side}")

    @property
    def stem(self) -> tuple[int, ...]:
        """Channels of each stage of the stem."""
        return tuple(self.width // part for part in (8, 4, 2, 1)) if self.channels is None else self.channels

    @property
    def smallest_side(self) -> int:
        """Smallest height and width of an image: that of one token."""
        return math.prod(self.pools)

    @property
    def hidden(self) -> int:
        """Neurons between the two layers per token."""
        return max(1, int(self.width * self.mlp_ratio))

    @property
    def attention_threshold(self) -> float:
        """Threshold of the neurons behind the products of attention: half of v_threshold, as in the papers."""
        return self.neuron.v_threshold / 2


_CIFAR: dict[Any, tuple[tuple[int, int, int], ...]] = {
    "spikformer": ((4, 256, 8), (2, 384, 12), (4, 384, 12)),
    "spikingformer": ((4, 256, 8), (2, 384, 12), (4, 384, 12)),
    "spike-driven-transformer": ((2, 256, 8), (2, 512, 8)),
}
"""Depths, widths and heads in the papers' tables for CIFAR."""
_IMAGENET: dict[Any, tuple[tuple[int, int], ...]] = {
    "spikformer": ((8, 384), (6, 512), (8, 512), (10, 512), (8, 768)),
    "spikingformer": ((8, 384), (8, 512), (8, 768)),
    "spike-driven-transformer": ((8, 384), (6, 512), (8, 512), (10, 512), (8, 768)),
}
"""Depths and widths in the papers' tables for ImageNet, with 8 heads for every width."""
_EVERY_STAGE = (2, 2, 2, 2)


def _named() -> Iterator[tuple[str, SpikformerConfig]]:
    """The sizes of the papers, as in their authors' configurations, and small sizes for a CPU."""
    for kind, small in _CIFAR.items():
        for depth, width, heads in small:
            yield f"{kind}-{depth}-{width}", SpikformerConfig(kind, depth, width, heads)
    for kind, large in _IMAGENET.items():
        for depth, width in large:
            config = SpikformerConfig(kind, depth, width, heads=8, pools=_EVERY_STAGE, n_classes=1000)
            yield f"{kind}-{depth}-{width}", config
    events = SpikformerConfig("spikformer", 2, 256, heads=16, pools=_EVERY_STAGE, scale=0.25, in_channels=2)
    yield "spikformer-2-256", events
    yield "spikingformer-2-256", dataclasses.replace(events, kind="spikingformer", scale=0.125)
    for kind in _CIFAR:
        yield f"{kind}-tiny", SpikformerConfig(kind, 2, 128, 4, channels=(64, 128), pools=(2, 2))
        yield f"{kind}-small", SpikformerConfig(kind, 2, 192, 6, channels=(64, 128, 192), pools=(2, 1, 2))


SPIKFORMERS: dict[str, ClassifierConfig] = dict(_named())
"""Transformers by name: kind, depth and width. Depths 6, 8 and 10 are for ImageNet, with tokens of 16 x 16 pixels and
1000 classes. Spikformer-2-256 and Spikingformer-2-256 are for events of 128 x 128 (CIFAR10-DVS), the others for
CIFAR."""


class Spikformer(SpikingClassifier):
    """The `SpikingClassifier` of a `SpikformerConfig`, with neurons of ``backend``."""

    def __init__(self, config: SpikformerConfig, backend: str = "torch", checkpoint_steps: int | None = None) -> None:
        super().__init__(config, _layers(config, backend), checkpoint_steps)


def _layers(c: SpikformerConfig, backend: str) -> Iterator[nn.Module]:
    yield from _stem(c, backend)
    for _ in range(c.depth):
        yield _attention(c, backend)
        yield _perceptron(c, backend)
    yield from (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if c.kind == "spike-driven-transformer":
        yield make_neuron(c.neuron, backend, (c.width,))
    yield nn.Linear(c.width, c.n_classes)


def _stem(c: SpikformerConfig, backend: str) -> Iterator[nn.Module]:
    for stage, (a, b) in enumerate(itertools.pairwise((c.in_channels, *c.stem))):
        synapses, norm = _synapses(a, b, kernel=3)
        # In the Spike-driven Transformer, the shortcuts of currents start with the last stage.
        neuron = [_neuron(c, b, backend)] if c.kind != "spike-driven-transformer" or stage < len(c.stem) - 1 else []
        pool = [nn.MaxPool2d(3, 2, 1)] if c.pools[stage] > 1 else []
        yield from [synapses, *pool, norm, *neuron] if c.pooled == "currents" else [synapses, norm, *neuron, *pool]
    position = _synapses(c.width, c.width, kernel=3)
    if c.kind == "spikingformer":
        yield from position
    else:
        yield _residual(c, backend, position)


def _attention(c: SpikformerConfig, backend: str) -> SpikingResidual:
    sensitive = dataclasses.replace(c.neuron, v_threshold=c.attention_threshold)
    neuron = make_neuron(sensitive, backend, (c.width, 1, 1))
    attention = [SelfAttention(c.heads, c.scale), neuron]
    if c.kind == "spike-driven-transformer":
        attention = [SpikeDrivenAttention(neuron)]
    layers = [*_synapses(c.width, 3 * c.width), _neuron(c, 3 * c.width, backend), *attention]
    return _residual(c, backend, [*layers, *_synapses(c.width, c.width, bias=True)])


def _perceptron(c: SpikformerConfig, backend: str) -> SpikingResidual:
    first, second = _synapses(c.width, c.hidden, bias=True), _synapses(c.hidden, c.width, bias=True)
    return _residual(c, backend, [*first, _neuron(c, c.hidden, backend), *second])


def _residual(c: SpikformerConfig, backend: str, layers: list[nn.Module]) -> SpikingResidual:
    """A residual block with its neurons after the last synapses (spikformer), or before the first."""
    neuron = _neuron(c, c.width, backend)
    layers = [*layers, neuron] if c.kind == "spikformer" else [neuron, *layers]
    return SpikingResidual(SpikingSequential(*layers), SpikingSequential())


def _synapses(a: int, b: int, kernel: int = 1, bias: bool = False) -> list[nn.Module]:
    """Convolution and norm. A bias before the norm has no effect, but the papers count it as parameters."""
    return [nn.Conv2d(a, b, kernel, padding=kernel // 2, bias=bias), BatchNorm2d(b)]


def _neuron(c: SpikformerConfig, channels: int, backend: str) -> Neuron:
    return make_neuron(c.neuron, backend, (channels, 1, 1))
