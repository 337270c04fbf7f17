"""A child policy inherits the weights of its parent, although its widths, code, neurons or readout differ.

A wider layer gets copies of neurons (Net2WiderNet, Chen et al. 2016), so the child computes what its parent computes. A
narrower layer keeps the neurons that are used most. All tasks of an organism share hidden neurons, so one plan serves
the policies of all tasks::

    plan = inheritance(parents, child, [activity(parent, observations) for …], seed)
    for child, parent in …:
        notes = inherit(child, parent, plan)
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from snn4.policies.acting.activity import Activity
from snn4.policies.acting.chains import Chain, chains, linear, outgoing_norms, same_networks, widths
from snn4.policies.acting.descent import Descent, continued
from snn4.policies.coding import DeltaEncoder, PopulationEncoder
from snn4.policies.finite import diverged

Tensors = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Inheritance:
    """Which hidden neurons of a parent the hidden neurons of its child continue, in the policies of all tasks."""

    layers: Mapping[str, Descent]
    """By hidden layer: ``actor.0``, ``actor.1``, ``critic.0``, …, and ``qf0.0``, … for the critics of SAC and TD3."""
    seed: int
    """For the shares of copies in outgoing weights."""


def inheritance(
    parents: Sequence[nn.Module], child: nn.Module, uses: Sequence[Mapping[str, Activity]] | None, seed: int
) -> Inheritance:
    """The plan by which children like ``child`` inherit from ``parents``, the policies of an organism's tasks.

    The worth of a neuron is its activity times the norm of its outgoing weights, as a fraction of the sum in its layer,
    averaged over tasks. Narrower layers keep the neurons of largest worth; wider layers copy them.

    Args:
        uses: the `activity` of each parent. With None, all neurons are equally active, and no mean stands in for those
            that are removed.
        seed: a whole number >= 0, for the shares of copies in outgoing weights.

    Raises:
        ValueError: for other networks, for another number of hidden layers, and for ``uses`` of other policies.
    """
    if not parents or (uses is not None and len(uses) != len(parents)):
        got = len(parents) if uses is None else len(uses)
        raise ValueError(
            f"uses: got {got} for {len(parents)} parents, allowed is one for each, and at least one parent"
        )
    networks = [same_networks(parent, child) for parent in parents]
    layers: dict[str, Descent] = {}
    for name, chain in chains(child).items():
        for layer, place in enumerate(() if chain.is_target else chain.layers()):
            outgoing = [outgoing_norms(parent, own[name], layer) for parent, own in zip(parents, networks, strict=True)]
            known = [_even(norms) for norms in outgoing] if uses is None else [use[place] for use in uses]
            layers[place] = _descent(place, outgoing, known, widths(child, chain)[layer])
    return Inheritance(layers, seed)


def _even(norms: Tensor) -> Activity:
    return Activity(torch.zeros_like(norms), torch.ones_like(norms))


def _descent(place: str, outgoing: Sequence[Tensor], known: Sequence[Activity], width: int) -> Descent:
    """How a layer of ``width`` neurons descends, from norms of outgoing weights and activity in each task."""
    if len({norms.shape for norms in outgoing} | {activity.size.shape for activity in known}) > 1:
        got = f"{[len(activity.size) for activity in known]} and {[len(norms) for norms in outgoing]}"
        raise ValueError(f"uses: got {place} of {got} neurons in uses and parents, allowed is one number in all")
    if not all(torch.isfinite(activity.size).all() for activity in known):
        raise diverged(f"activity of {place}")
    worth = [activity.size * norms for activity, norms in zip(known, outgoing, strict=True)]
    fractions = torch.stack([part / part.sum().clamp(min=1e-12) for part in worth])
    mean = torch.stack([activity.mean for activity in known]).mean(0)
    return Descent(continued(fractions.mean(0), width), mean)


def inherit(child: BasePolicy, parent: BasePolicy, plan: Inheritance) -> list[str]:
    """Load the weights of ``parent`` into ``child``, an untrained policy for the same task, by ``plan``.

    What both have in the same shape is copied, target networks too. With another code, the first layer stays that of
    the child, unless both codes have one neuron for each value.

    Returns:
        A note for each part that starts anew.

    Raises:
        ValueError: for other spaces, other networks or another number of hidden layers, for a plan of other widths, and
            for weights of the parent that hold NaN or infinity.
    """
    _require_same_spaces(parent, child)
    before, given, own = same_networks(parent, child), parent.state_dict(), child.state_dict()
    _require_finite(given)
    inherited: Tensors = {name: x for name, x in given.items() if name in own and own[name].shape == x.shape}
    recoded: dict[str, Chain] = {}
    for name, chain in chains(child).items():
        _require_fit(plan, parent, before[name], child, chain)
        inherited |= _network(given, before[name], chain, plan)
        if _code(parent, before[name]) != _code(child, chain):
            recoded[name] = chain
    first = tuple(start for chain in recoded.values() for start in (f"{chain.synapses[0]}.", f"{chain.code}."))
    kept = {name for name in own if name.startswith(first)}
    anew = own.keys() - inherited.keys() - kept
    child.load_state_dict({name: x if name in kept | anew else inherited[name] for name, x in own.items()})
    notes = [f"{name}: the first layer starts anew, because its code is another" for name in recoded]
    for name in [name for name in own if name in anew]:
        shape = f"of shape {tuple(given[name].shape)}" if name in given else "not there"
        notes.append(f"{name}: starts anew, because the parent's is {shape}")
    return [note for note in notes if "_target." not in note]  # targets say what their networks say


def _network(given: Tensors, before: Chain, chain: Chain, plan: Inheritance) -> Tensors:
    """The parameters of the network ``chain`` of a child, from those of its parent's network ``before``."""
    descents = [plan.layers[place] for place in chain.layers()]
    result: Tensors = {}
    for layer in range(-1, len(descents)):
        for reader, name in zip(before.readers(layer), chain.readers(layer), strict=True):
            weight, bias = given[f"{reader}.weight"], given[f"{reader}.bias"]
            if layer >= 0:
                weight, bias = descents[layer].read(weight, bias, _random(plan.seed, f"{chain.role}.{layer}"))
            if layer + 1 < len(descents):
                rows = descents[layer + 1].source.to(weight.device)
                weight, bias = weight[rows], bias[rows]
            result |= {f"{name}.weight": weight, f"{name}.bias": bias}
    for descent, neurons, name in zip(descents, before.neurons, chain.neurons, strict=True):
        for entry in [entry for entry in given if entry.startswith(f"{neurons}.")]:
            result[name + entry.removeprefix(neurons)] = given[entry][descent.source.to(given[entry].device)]
    if before.noise and chain.noise:
        result[chain.noise] = descents[-1].noise(given[before.noise])
    return result


def _random(seed: int, place: str) -> np.random.Generator:
    """The same numbers for a layer in the policies of all tasks, and in target networks."""
    return np.random.default_rng([seed, zlib.crc32(place.encode())])


def _code(policy: nn.Module, chain: Chain) -> tuple[int, type | None]:
    """What the inputs of the first layer stand for: their number, and the code if it has several for each value."""
    encoder = dict(policy.named_modules()).get(chain.code)
    several = isinstance(encoder, (DeltaEncoder, PopulationEncoder))
    return linear(policy, chain.synapses[0]).in_features, type(encoder) if several else None


def _require_same_spaces(parent: BasePolicy, child: BasePolicy) -> None:
    for name in ("observation_space", "action_space"):
        got, allowed = (getattr(policy, name) for policy in (child, parent))
        if got != allowed:
            one_line = " ".join(f"got {got} for the child, allowed is that of the parent, {allowed}".split())
            raise ValueError(f"{name}: {one_line}")


def _require_finite(tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise diverged(f"{name} of the parent")


def _require_fit(plan: Inheritance, parent: nn.Module, before: Chain, child: nn.Module, chain: Chain) -> None:
    descents = [plan.layers[place] for place in chain.layers() if place in plan.layers]
    planned = [(len(descent.mean), len(descent.source)) for descent in descents]
    allowed = [*zip(widths(parent, before), widths(child, chain), strict=True)]
    if planned != allowed:
        raise ValueError(
            f"plan: got widths (parent, child) {planned} for the {chain.role}, allowed are {allowed}; make a plan for "
            f"these policies with inheritance()"
        )
