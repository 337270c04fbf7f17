"""Spikformer from SpikingJelly's building blocks, layer by layer in multi-step mode, as its users write it."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from snn4.benchmarks.peers import NEURON, SPIKINGJELLY
from snn4.policies.networks.spikformer import SPIKFORMERS, SpikformerConfig


def spikformer_config(T: int, name: str = "spikformer-4-256") -> SpikformerConfig:
    """The named Spikformer for T steps, with the neurons of `peers`."""
    config: Any = SPIKFORMERS[name]
    return dataclasses.replace(config, T=T, neuron=NEURON)


class SpikingJellySpikformer(nn.Module):
    """The same layers in the same order: images (B, C, H, W) -> mean scores; the first synapses run once for all steps.

    As in this project, one convolution computes queries, keys and values, and products are in the cheaper order.
    """

    def __init__(self, config: SpikformerConfig) -> None:
        from spikingjelly.activation_based import functional, layer

        super().__init__()
        c, self.T = config, config.T
        stem: list[nn.Module] = []
        for (a, b), pool in zip(pairwise((c.in_channels, *c.stem)), c.pools, strict=True):
            stem += _layer(a, b, kernel=3)
            stem += [layer.MaxPool2d(3, 2, 1)] if pool > 1 else []
        self.first, self.stem = nn.Sequential(*stem[:2]), nn.Sequential(*stem[2:])
        self.blocks = nn.ModuleList([nn.Sequential(*_layer(c.width, c.width, kernel=3))])
        for _ in range(c.depth):
            hidden = _layer(c.width, c.hidden, bias=True)
            self.blocks.append(_Attention(c))
            self.blocks.append(nn.Sequential(*hidden, *_layer(c.hidden, c.width, bias=True)))
        self.head = nn.Linear(c.width, c.n_classes)
        for part in (self.stem, self.blocks):
            functional.set_step_mode(part, "m")

    def forward(self, x: Tensor) -> Tensor:
        from spikingjelly.activation_based import functional

        functional.reset_net(self)
        x = self.stem(self.first(x).unsqueeze(0).repeat(self.T, 1, 1, 1, 1))
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((3, 4))).mean(0)  # type: ignore[no-any-return]


class _Attention(nn.Module):
    def __init__(self, c: SpikformerConfig) -> None:
        from spikingjelly.activation_based import neuron

        super().__init__()
        self.heads, self.scale = c.heads, c.scale
        self.qkv = nn.Sequential(*_layer(c.width, 3 * c.width))
        self.neuron = neuron.LIFNode(v_threshold=0.5, **SPIKINGJELLY)
        self.projection = nn.Sequential(*_layer(c.width, c.width, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).flatten(5).unbind(2)
        few_tokens = q.shape[-1] < q.shape[-2]
        y = v @ (k.mT @ q * self.scale) if few_tokens else (v @ k.mT * self.scale) @ q
        return self.projection(self.neuron(y.reshape(x.shape)))  # type: ignore[no-any-return]


def _layer(a: int, b: int, kernel: int = 1, bias: bool = False) -> list[nn.Module]:
    from spikingjelly.activation_based import layer, neuron

    conv = layer.Conv2d(a, b, kernel, padding=kernel // 2, bias=bias)
    return [conv, layer.BatchNorm2d(b), neuron.LIFNode(**SPIKINGJELLY)]
