"""Published checkpoints: built here with the authors' names and random weights, since they cannot be downloaded."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from snn4.policies.networks.official import load_official
from snn4.policies.networks.spikformer import SPIKFORMERS
from snn4.policies.neurons import Neuron

STEPS, CLASSES = 2, 5


class Version(NamedTuple):
    """A version of the authors' code: the names of its layers and the size of a network."""

    family: str
    depth: int
    width: int
    heads: int
    stem: tuple[str, ...]
    pools: tuple[int, ...] = (1, 1, 2, 2)
    token_layer: str = "conv"
    kernel_dims: int = 2
    """Dimensions of the kernels in the attention: the authors use Conv1d, Conv2d and Linear."""
    in_channels: int = 3
    scale: float = 0.125
    tau: float = 2.0


NUMBERED = ("proj_conv", "proj_conv1", "proj_conv2", "proj_conv3", "rpe_conv")
VERSIONS = {
    "Spikformer, CIFAR": Version("spikformer", 4, 256, 8, NUMBERED, token_layer="linear", kernel_dims=0),
    "Spikformer, blocks": Version(
        "spikformer", 4, 256, 8, (*(f"block{n}_conv" for n in range(1, 5)), "rpe_conv"), kernel_dims=1
    ),
    "Spikformer, events": Version(
        "spikformer", 2, 256, 16, NUMBERED, (2, 2, 2, 2), kernel_dims=1, in_channels=2, scale=0.25
    ),
    "Spikingformer, CIFAR": Version(
        "spikingformer", 4, 256, 8, tuple(f"block{n}_conv" for n in range(5)), kernel_dims=1
    ),
    "Spikingformer, events": Version(
        "spikingformer", 2, 256, 16, ("proj_conv", *(f"proj{n}_conv" for n in range(1, 5))), (2, 2, 2, 2),
        kernel_dims=1, in_channels=2, tau=1.5, scale=0.1234,
    ),
    "Spike-driven Transformer": Version("spike-driven-transformer", 2, 256, 8, NUMBERED),
}  # fmt: skip


def synapses(name: str, a: int, b: int, kernel: tuple[int, ...], bias: bool) -> Iterator[tuple[str, Tensor]]:
    """Random weights of a layer and of its trained norm."""
    fan_in = a * (kernel[0] ** 2 if kernel else 1)
    yield f"{name}.weight", torch.randn(b, a, *kernel) * fan_in**-0.5
    if bias:
        yield f"{name}.bias", torch.randn(b) * 0.1
    norm = name.replace("_conv", "_bn").replace("_linear", "_bn")
    yield f"{norm}.weight", torch.rand(b) + 1
    yield f"{norm}.bias", torch.rand(b) * 0.8
    yield f"{norm}.running_mean", torch.randn(b) * 0.1
    yield f"{norm}.running_var", torch.rand(b) * 0.3 + 0.2
    yield f"{norm}.num_batches_tracked", torch.tensor(7)


def state_dict(v: Version) -> dict[str, Tensor]:
    torch.manual_seed(0)
    width, layer = v.width, v.token_layer
    weights: dict[str, Tensor] = {}
    channels = (v.in_channels, *(width // part for part in (8, 4, 2, 1)), width)
    for name, a, b in zip(v.stem, channels[:-1], channels[1:], strict=True):
        weights.update(synapses(f"patch_embed.{name}", a, b, (3, 3), bias=False))
    kernel = () if layer == "linear" else (1, 1)
    hidden = "mlp" if v.family == "spikingformer" else "fc"
    for n in range(v.depth):
        for part in ("q", "k", "v", "proj"):
            bias = part == "proj" or layer == "linear"
            weights.update(synapses(f"block.{n}.attn.{part}_{layer}", width, width, (1,) * v.kernel_dims, bias))
        weights.update(synapses(f"block.{n}.mlp.{hidden}1_{layer}", width, 4 * width, kernel, bias=True))
        weights.update(synapses(f"block.{n}.mlp.{hidden}2_{layer}", 4 * width, width, kernel, bias=True))
        if v.family == "spike-driven-transformer":
            weights[f"block.{n}.attn.talking_heads.weight"] = torch.randn(v.heads, v.heads, 1)
        else:  # norms that exist but are not used
            weights |= {f"block.{n}.norm{m}.{part}": torch.randn(width) for m in (1, 2) for part in ("weight", "bias")}
    if v.in_channels == 2:
        weights |= {"pos_embed": torch.randn(1, 64, width), "norm.weight": torch.randn(width)}
    return weights | {"head.weight": torch.randn(CLASSES, width) * 0.1, "head.bias": torch.randn(CLASSES)}


class Written:
    """The authors' networks as they describe them: one step at a time, with their names, in double precision."""

    def __init__(self, version: Version, weights: dict[str, Tensor]) -> None:
        self.v, self.weights = version, {name: x.double() for name, x in weights.items()}
        self.membranes: dict[str, Tensor] = {}
        self.spikes: list[Tensor] = []

    def step(self, x: Tensor) -> Tensor:
        self.spikes = []
        if self.v.family == "spikformer":
            x = self.spikformer(x)
        else:
            x = self.stem_of_currents(x) if self.v.family == "spike-driven-transformer" else self.tokenizer(x)
            for n in range(self.v.depth):
                x = self.pre_activation_block(f"block.{n}", x)
        x = x.mean((2, 3))
        if self.v.family == "spike-driven-transformer":
            x = self.lif("head_lif", x)
        return F.linear(x, self.weights["head.weight"], self.weights["head.bias"])

    def spikformer(self, x: Tensor) -> Tensor:
        for name, pool in zip(self.v.stem[:4], self.v.pools, strict=True):
            x = self.pool(self.lif(name, self.synapses(f"patch_embed.{name}", x)), pool)
        x = x + self.lif("rpe", self.synapses("patch_embed.rpe_conv", x))
        for block in (f"block.{n}" for n in range(self.v.depth)):
            layer = self.v.token_layer
            y = self.synapses(f"{block}.attn.proj_{layer}", self.attention(f"{block}.attn", x))
            x = x + self.lif(f"{block}.attn.proj", y)
            y = self.lif(f"{block}.fc1", self.synapses(f"{block}.mlp.fc1_{layer}", x))
            x = x + self.lif(f"{block}.fc2", self.synapses(f"{block}.mlp.fc2_{layer}", y))
        return x

    def tokenizer(self, x: Tensor) -> Tensor:
        """Spikingformer's stem: neurons stand before the synapses, and their spikes are pooled."""
        x = self.synapses(f"patch_embed.{self.v.stem[0]}", x)
        for name, pool in zip(self.v.stem[1:], self.v.pools, strict=True):
            x = self.synapses(f"patch_embed.{name}", self.pool(self.lif(name, x), pool))
        return x

    def stem_of_currents(self, x: Tensor) -> Tensor:
        """The Spike-driven Transformer's stem: the last stage pools currents and adds the position embedding."""
        for name, pool in zip(self.v.stem[:3], self.v.pools, strict=False):
            x = self.pool(self.lif(name, self.synapses(f"patch_embed.{name}", x)), pool)
        x = self.pool(self.synapses("patch_embed.proj_conv3", x), self.v.pools[3])
        return x + self.synapses("patch_embed.rpe_conv", self.lif("proj_conv3", x))

    def pre_activation_block(self, block: str, x: Tensor) -> Tensor:
        hidden = "mlp" if self.v.family == "spikingformer" else "fc"
        x = x + self.synapses(f"{block}.attn.proj_conv", self.attention(f"{block}.attn", self.lif(block, x)))
        y = self.synapses(f"{block}.mlp.{hidden}1_conv", self.lif(f"{block}.1", x))
        return x + self.synapses(f"{block}.mlp.{hidden}2_conv", self.lif(f"{block}.2", y))

    def attention(self, name: str, x: Tensor) -> Tensor:
        parts = [self.synapses(f"{name}.{part}_{self.v.token_layer}", x) for part in "qkv"]
        q, k, v = self.lif(f"{name}.qkv", torch.cat(parts, 1)).chunk(3, 1)
        if self.v.family == "spike-driven-transformer":
            return q * self.lif(name, (k * v).sum((2, 3), keepdim=True), 0.5)
        size, outputs = self.v.width // self.v.heads, []
        for q, k, v in zip(*(part.flatten(2).mT.split(size, 2) for part in (q, k, v)), strict=True):  # noqa: B020
            outputs.append(q @ k.mT @ v * self.v.scale)
        return self.lif(name, torch.cat(outputs, 2).mT.reshape(x.shape), 0.5)

    def synapses(self, name: str, x: Tensor) -> Tensor:
        kernel, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        kernel = kernel.reshape(*kernel.shape[:2], *(kernel.shape[2:] if kernel.dim() == 4 else (1, 1)))
        x = F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2)
        norm = name.replace("_conv", "_bn").replace("_linear", "_bn")
        parts = ("running_mean", "running_var", "weight", "bias")
        of_norm = {part: self.weights[f"{norm}.{part}"][:, None, None] for part in parts}
        normed = (x - of_norm["running_mean"]) / (of_norm["running_var"] + 1e-5).sqrt()
        return normed * of_norm["weight"] + of_norm["bias"]

    def lif(self, name: str, x: Tensor, threshold: float = 1.0) -> Tensor:
        """SpikingJelly's LIF neuron: the decay applies to the input, too, and the reset goes to 0."""
        v = self.membranes.get(name, torch.zeros_like(x))
        u = v + (x - v) / self.v.tau
        fired = u >= threshold
        self.membranes[name] = u.masked_fill(fired, 0.0)
        self.spikes.append(fired.double())
        return self.spikes[-1]

    @staticmethod
    def pool(x: Tensor, stride: int) -> Tensor:
        return F.max_pool2d(x, 3, 2, 1) if stride == 2 else x


def saved(path: Path, checkpoint: Any) -> Path:
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
@torch.no_grad()
def test_spikes_are_those_of_the_authors_networks(version: Version, tmp_path: Path) -> None:
    weights = state_dict(version)
    # With tau = 1.5, sums of eighths sometimes meet the threshold up to rounding.
    changes = {"scale": version.scale} if version.tau == 1.5 else {}
    network = load_official(saved(tmp_path / "checkpoint.pth.tar", weights), T=STEPS, **changes).double()
    spikes: list[Tensor] = []
    for neuron in (module for module in network.modules() if isinstance(module, Neuron)):
        neuron.register_forward_hook(lambda _, __, output: spikes.append(output[0]))
    x = torch.randn(STEPS, 1, version.in_channels, 32, 32, generator=torch.Generator().manual_seed(1)).double()
    scores, _ = network.run(x)
    written = Written(version, weights)
    for t in range(STEPS):
        torch.testing.assert_close(scores[t], written.step(x[t]))
        assert [torch.equal(train[t], expected) for train, expected in zip(spikes, written.spikes, strict=True)].count(
            False
        ) == 0
    assert all(0 < layer.mean() < 1 for layer in spikes), "layers that always or never spike show nothing"
    assert not network.training


EVENTS = state_dict(VERSIONS["Spikformer, events"])
"""The smallest of the checkpoints."""


def test_checkpoints_of_training_scripts(tmp_path: Path) -> None:
    """As timm writes them: with the arguments of the script, and from a training on several devices."""
    plain = load_official(saved(tmp_path / "plain.pth", EVENTS))
    weights = {f"module.{name}": x for name, x in EVENTS.items()}
    arguments = argparse.Namespace(num_heads=4, lr=5e-4, mean=[0.5], resume="")
    whole = {"epoch": 3, "arch": "spikformer", "state_dict": weights, "args": arguments, "metric": 75.85}
    network = load_official(saved(tmp_path / "whole.pth.tar", whole))
    expected = plain.state_dict()
    assert all(torch.equal(x, expected[key]) for key, x in network.state_dict().items())
    config = dataclasses.replace(SPIKFORMERS["spikformer-2-256"], n_classes=CLASSES, neuron="spikformer")  # type: ignore[arg-type]
    assert plain.config == config
    assert network.config == dataclasses.replace(config, heads=4)  # type: ignore[call-arg]


class Unsafe:
    """An object in a checkpoint that is not data."""


INCOMPLETE = {name: x for name, x in EVENTS.items() if name != "block.1.mlp.fc2_bn.running_var"}
UNLIKE_EACH_OTHER = {**EVENTS, "block.0.attn.q_conv.weight": torch.zeros(256, 128, 1)}
OTHER_WIDTH = {**EVENTS, "head.weight": torch.zeros(5, 128)}
LEARNED_DECAY = {**EVENTS, "patch_embed.proj_lif.w": torch.zeros(1)}


@pytest.mark.parametrize(
    ("checkpoint", "changes", "message"),
    [
        ([1.0], {}, "holds a list, allowed is a state dict: tensors by name"),
        ({"state_dict": {}}, {}, "got no weights, allowed are the weights of a spike-driven-transformer, spiking"),
        ({"fc.weight": torch.zeros(1)}, {}, "got fc.weight, allowed are the weights of a spike-driven-transfor"),
        (OTHER_WIDTH, {}, "got spikformer-2-128, allowed are spikformer-4-256, spikformer-2-384, "),
        (LEARNED_DECAY, {}, "got patch_embed.proj_lif.w, which no spikformer has"),
        (UNLIKE_EACH_OTHER, {}, "Sizes of tensors must match"),
        (INCOMPLETE, {}, "has no block.1.mlp.fc2_bn.running_var"),
        (EVENTS, {"in_channels": 3}, "patch_embed.proj_conv.weight: got shape (32, 2, 3, 3), allowed is (32, 3, 3, 3)"),
        (EVENTS, {"heads": 3}, "heads: got 3, allowed are divisors of width (256)"),
        ({"model": EVENTS, "hook": Unsafe()}, {}, "cannot be read as a checkpoint of torch: Weights only load failed"),
    ],
)
def test_an_unknown_checkpoint_is_refused_in_one_line(
    checkpoint: Any, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = saved(tmp_path / "checkpoint.pth", checkpoint)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")) as raised:
        load_official(path, **changes)
    assert "\n" not in str(raised.value)


def test_fields_that_are_not_there() -> None:
    with pytest.raises(ValueError, match=r"^changes: got 'layers', allowed are image_size, in_channels, "):
        load_official("checkpoint.pth", layers=3)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not a checkpoint")
    for name in ("text.pth", "missing.pth"):
        with pytest.raises(ValueError, match=f"{name}: cannot be read as a checkpoint of torch: "):
            load_official(tmp_path / name)
