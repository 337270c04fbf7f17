"""Published checkpoints of Spikformer, Spikingformer and the Spike-driven Transformer, in their authors' format."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from snn4.policies.networks.spikformer import SPIKFORMERS, Spikformer, SpikformerConfig
from snn4.policies.neurons import PROFILES, NeuronConfig

_NUMBERED = ("proj_conv", "proj_conv1", "proj_conv2", "proj_conv3", "rpe_conv")
_STEMS = {
    "spikformer": (_NUMBERED, ("block1_conv", "block2_conv", "block3_conv", "block4_conv", "rpe_conv")),
    "spikingformer": (
        ("proj_conv", "proj1_conv", "proj2_conv", "proj3_conv", "proj4_conv"),
        ("block0_conv", "block1_conv", "block2_conv", "block3_conv", "block4_conv"),
    ),
    "spike-driven-transformer": (_NUMBERED,),
}
"""The authors' names for the convolutions of a stem, in each version of their code."""
_MARKS = {
    "spike-driven-transformer": "block.0.attn.talking_heads.weight",
    "spikingformer": "block.0.mlp.mlp1_conv.weight",
    "spikformer": "block.0.mlp.fc1_conv.weight",
}
"""A weight that identifies each kind; kinds are tried in this order."""
_UNUSED = re.compile(r"block\.\d+\.(norm[12]|attn\.talking_heads)\.|pos_embed$|norm\.|.*num_batches_tracked$")
"""Tensors that the authors' networks have but do not use."""


def load_official(path: str | Path, **changes: Any) -> Spikformer:
    """The network in a published checkpoint, with the papers' neuron, ready for evaluation.

    The names and shapes of its weights determine kind, depth, width and classes. The other fields (heads, pools, the
    factor of attention) come from the authors' configuration of this size in `SPIKFORMERS`. The number of heads comes
    from the training arguments in the checkpoint, if it has any. Only tensors and plain data are read from the file.

    Args:
        path: a file that the authors' scripts save with ``torch.save``: a state dict, alone or under ``state_dict`` or
            ``model``.
        changes: fields of `SpikformerConfig` with other values, such as ``T=6`` or ``in_channels=1``.

    Raises:
        ValueError: in one line, for a file that cannot be read, and for any other network. Variants with the same
            weights (Spikingformer-CML, the Spike-driven Transformer for events) cannot be distinguished.
    """
    names = [field.name for field in dataclasses.fields(SpikformerConfig)]
    for name in changes:
        if name not in names:
            raise ValueError(f"changes: got {name!r}, allowed are {', '.join(names)}")
    try:
        checkpoint = _read(Path(path).expanduser())
        weights, arguments = _weights(checkpoint), checkpoint.get("args")
        config = dataclasses.replace(_config(weights, getattr(arguments, "num_heads", None)), **changes)
        network = Spikformer(config)
        network.load_state_dict(_translated(network, config, weights))
    except (ValueError, RuntimeError) as error:  # RuntimeError: tensors that cannot be concatenated
        raise ValueError(f"{path}: {error}") from error
    return network.eval()


def _read(file: Path) -> Mapping[str, Any]:
    try:
        # The training scripts, which are timm's, save their arguments with the weights, as plain data in a Namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can cause any error in its reader
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise ValueError(f"cannot be read as a checkpoint of torch: {reason}") from error
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f"holds a {type(checkpoint).__name__}, allowed is a state dict: tensors by name")
    return checkpoint


def _weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of the authors' network, with all 1 x 1 convolutions named and shaped alike."""
    state_dict = next((checkpoint[key] for key in ("state_dict", "model") if key in checkpoint), checkpoint)
    weights = {}
    for key, x in state_dict.items() if isinstance(state_dict, Mapping) else ():
        name = str(key).removeprefix("module.").replace("_linear.", "_conv.")
        if isinstance(x, Tensor):
            weights[name] = x.reshape(*x.shape, *[1] * (4 - x.dim())) if name.endswith("_conv.weight") else x
    return weights


def _config(weights: Mapping[str, Tensor], heads: object) -> SpikformerConfig:
    """The config for the size of ``weights``, with ``heads`` if it is a number."""
    kind, readout = _kind(weights), weights.get("head.weight")
    if readout is None or readout.dim() != 2:
        raise ValueError(f"has no head.weight of two dimensions, as a {kind} has")
    depth = 1 + max(int(key.split(".")[1]) for key in weights if re.match(r"block\.\d+\.", key))
    n_classes, width = readout.shape
    name = f"{kind}-{depth}-{width}"
    if name not in SPIKFORMERS:
        sizes = [size for size in SPIKFORMERS if size.startswith(f"{kind}-") and size[-1].isdigit()]
        raise ValueError(f"got {name}, allowed are {', '.join(sizes)}")
    config = cast(SpikformerConfig, SPIKFORMERS[name])
    heads = heads if isinstance(heads, int) else config.heads
    return dataclasses.replace(config, n_classes=n_classes, heads=heads, neuron=_neuron(config))


def _kind(weights: Mapping[str, Tensor]) -> str:
    for kind, key in _MARKS.items():
        if key in weights:
            return kind
    names = ", ".join(list(weights)[:3]) or "no weights"
    raise ValueError(f"got {names}, allowed are the weights of a {', '.join(_MARKS)}")


def _neuron(config: SpikformerConfig) -> NeuronConfig:
    neuron = PROFILES["spikformer"]
    if config.kind == "spikingformer" and config.in_channels == 2:  # tau = 1.5 for events
        return dataclasses.replace(neuron, tau_mem=neuron.dt / math.log(3))
    return neuron


def _translated(network: Spikformer, config: SpikformerConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``network`` with all of the authors' ``weights``."""
    state_dict, remaining = network.state_dict(), {key: x for key, x in weights.items() if not _UNUSED.match(key)}
    for key, official_key, x in _translations(network, config, remaining):
        if x.shape != state_dict[key].shape:
            got, allowed = tuple(x.shape), tuple(state_dict[key].shape)
            raise ValueError(f"{official_key}: got shape {got}, allowed is {allowed}")
        state_dict[key] = x
    if remaining:
        names = ", ".join(list(remaining)[:3]) + (", …" if len(remaining) > 3 else "")
        raise ValueError(f"got {names}, which no {config.kind} has")
    return state_dict


def _translations(
    network: Spikformer, config: SpikformerConfig, remaining: dict[str, Tensor]
) -> Iterator[tuple[str, str, Tensor]]:
    """For each parameter and statistic: our key, the authors' first key, and the tensor, removed from ``remaining``."""
    synapses = [(name, conv) for name, conv in network.named_modules() if isinstance(conv, nn.Conv2d)]
    norms = [name for name, norm in network.named_modules() if isinstance(norm, nn.BatchNorm2d)]
    for (synapse, conv), norm, convs in zip(synapses, norms, _convolutions(config, remaining), strict=True):
        yield f"{synapse}.weight", f"{convs[0]}.weight", _take(remaining, convs, "weight")
        bias: Tensor | float = 0.0
        if conv.bias is not None:
            yield f"{synapse}.bias", f"{convs[0]}.bias", _take(remaining, convs, "bias")
        elif f"{convs[0]}.bias" in remaining:  # subtracting it from the norm's mean has the same effect
            bias = _take(remaining, convs, "bias")
        bns = [name.replace("_conv", "_bn") for name in convs]
        for part in ("weight", "bias", "running_mean", "running_var"):
            x = _take(remaining, bns, part)
            yield f"{norm}.{part}", f"{bns[0]}.{part}", x - bias if part == "running_mean" else x
    readout = next(name for name, layer in network.named_modules() if isinstance(layer, nn.Linear))
    for part in ("weight", "bias"):
        yield f"{readout}.{part}", f"head.{part}", _take(remaining, ["head"], part)


def _convolutions(c: SpikformerConfig, weights: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """The authors' names of each of our convolutions, in order; they have one each for queries, keys and values."""
    stems = [[f"patch_embed.{name}" for name in stem] for stem in _STEMS[c.kind]]
    yield from ([name] for name in next((stem for stem in stems if f"{stem[0]}.weight" in weights), stems[0]))
    hidden = "mlp.mlp" if c.kind == "spikingformer" else "mlp.fc"
    for number in range(c.depth):
        block = f"block.{number}"
        yield [f"{block}.attn.{part}_conv" for part in "qkv"]
        yield from ([f"{block}.{name}_conv"] for name in ("attn.proj", f"{hidden}1", f"{hidden}2"))


def _take(remaining: dict[str, Tensor], names: list[str], part: str) -> Tensor:
    keys = [f"{name}.{part}" for name in names]
    for key in keys:
        if key not in remaining:
            raise ValueError(f"has no {key}")
    return torch.cat([remaining.pop(key) for key in keys])
