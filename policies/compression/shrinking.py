"""Structured pruning of classifiers: channels and hidden units leave, tensors shrink, the config has other widths.

Channels that a sum joins, as in residual blocks, leave together. A channel's worth is how much it passes on, on
training data, times the norm of the weights that read it, as a fraction of the sum in its layer. What removed channels
passed on in the mean goes to the biases, or the norms, of the layers that read them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snn4.policies.acting.descent import continued
from snn4.policies.compression.config import CompressionConfig
from snn4.policies.compression.groups import Connection, Group, Structure, structure
from snn4.policies.modes import device, evaluating
from snn4.policies.networks.classifier import ClassifierConfig, SpikingClassifier
from snn4.policies.networks.convnet import ConvNetConfig
from snn4.policies.networks.dense import DenseConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.networks.spikformer import SpikformerConfig

Kept = Mapping[Group, Tensor]
"""By group, the numbers of the channels that stay."""


def smaller(config: ClassifierConfig, compression: CompressionConfig) -> dict[str, Any]:
    """The fields of ``config`` that change when its hidden layers shrink.

    Raises:
        ValueError: the network has no widths that can be changed.
    """
    match config:
        case ConvNetConfig():
            return {"channels": tuple(map(compression.width, config.channels))}
        case DenseConfig():
            return {"hidden": tuple(map(compression.width, config.hidden))}
        case SpikformerConfig():  # half a unit more, because the config rounds down
            return {"mlp_ratio": (compression.width(config.hidden) + 0.5) / config.width}
    name = type(config).__name__.removesuffix("Config").lower()
    allowed = "allowed are vgg, resnet, dense and spikformer networks; a conversion or hybrid has prune, pattern, bits"
    raise ValueError(f"shrink: got {compression.shrink} for a {name} network, {allowed}")


def shrunk(
    network: SpikingClassifier, images: Iterable[Tensor], compression: CompressionConfig, backend: str = "torch"
) -> SpikingClassifier:
    """A copy of ``network`` with fewer channels: those that are worth most on ``images`` (batches)."""
    config = dataclasses.replace(network.config, **smaller(network.config, compression))
    plan = structure(network)
    groups = plan.groups
    if isinstance(config, SpikformerConfig):
        groups = [group for group in groups if any(group is inner for inner in plan.inner)]
    worth, means = _worth(network, plan, images, groups)
    kept = {group: continued(worth[group], compression.width(group.size)) for group in groups}
    child = make_network(config, backend)
    child.load_state_dict(_selected(network.state_dict(), plan, kept, means))
    return child.train(network.training)


def _worth(
    network: SpikingClassifier, plan: Structure, images: Iterable[Tensor], groups: list[Group]
) -> tuple[dict[Group, Tensor], dict[str, Tensor]]:
    """The worth of each channel by group, and what each connection read in the mean (inputs,)."""
    means, sizes = _read(network, plan, images)
    worth = {group: torch.zeros(group.size) for group in groups}
    for connection in plan.connections:
        if (group := connection.inputs.root) in worth:
            norms = _weight(network, connection).transpose(0, 1).flatten(1).norm(dim=1).cpu()
            each = (sizes[connection.name] * norms).view(group.size, -1).sum(1)
            worth[group] += each / each.sum().clamp(min=1e-12)
    return worth, means


def _read(
    network: SpikingClassifier, plan: Structure, images: Iterable[Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Mean value and mean absolute value of each input of each connection, over samples, steps and places."""
    sums: dict[str, list[Tensor]] = {connection.name: [] for connection in plan.connections}

    def note(name: str) -> Any:
        def hear(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].float()
            dims = [0, *range(2, x.dim())]
            sums[name].append(torch.stack([x.mean(dims), x.abs().mean(dims)]).cpu())

        return hear

    handles = [network.get_submodule(name).register_forward_pre_hook(note(name)) for name in sums]
    with evaluating(network):
        for x in images:
            network(x.to(device(network)))
    for handle in handles:
        handle.remove()
    both = {name: torch.stack(parts).mean(0) for name, parts in sums.items()}
    return {name: x[0] for name, x in both.items()}, {name: x[1] for name, x in both.items()}


def _weight(network: nn.Module, connection: Connection) -> Tensor:
    return network.get_submodule(connection.name).weight.detach()  # type: ignore[union-attr, operator, return-value]


def _selected(given: dict[str, Tensor], plan: Structure, kept: Kept, means: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the child, from those ``given`` by its parent."""
    result = dict(given)
    for name, group in (*plan.norms.items(), *plan.neurons.items()):
        if (channels := kept.get(group.root)) is not None:
            for entry in [entry for entry in given if entry.startswith(f"{name}.") and given[entry].dim()]:
                # Those of a norm come last, those of neurons first: (C, 1, 1); one value stands for all channels.
                x, last = given[entry], name in plan.norms
                result[entry] = x[..., channels] if last else x[channels] if x.shape[0] == group.size else x
    for connection in plan.connections:
        _connect(result, connection, kept, means[connection.name])
    return result


def _connect(result: dict[str, Tensor], connection: Connection, kept: Kept, means: Tensor) -> None:
    name, weight = connection.name, result[f"{connection.name}.weight"]
    inputs, outputs = kept.get(connection.inputs.root), kept.get(connection.outputs.root)
    lost = torch.zeros(len(weight))
    if inputs is not None:
        stays = torch.zeros(connection.inputs.size, dtype=torch.bool)
        stays[inputs] = True
        columns = stays.repeat_interleave(weight.shape[1] // len(stays))
        lost = weight[:, ~columns].flatten(2).sum(-1) if weight.dim() > 2 else weight[:, ~columns]
        lost = lost @ means[~columns].to(weight)
        weight = weight[:, columns]
    bias = result.get(f"{name}.bias")
    if outputs is not None:
        weight, lost = weight[outputs], lost[outputs]
        bias = None if bias is None else bias[outputs]
    result[f"{name}.weight"] = weight
    if bias is not None:
        result[f"{name}.bias"] = bias + lost.to(bias)
    elif connection.norm is not None:
        key = f"{connection.norm}.running_mean"
        result[key] = result[key] - lost.to(result[key])
