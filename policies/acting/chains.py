"""The networks of a policy as chains: synapses and hidden neurons in alternation, and the heads behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

_HEADS = {
    "mlp_extractor.policy_net": ("actor", ("action_net",), "log_std"),
    "mlp_extractor.value_net": ("critic", ("value_net",), ""),
    "lstm_actor": ("actor", ("action_net",), "log_std"),
    "lstm_critic": ("critic", ("value_net",), ""),
    "actor.latent_pi": ("actor", ("actor.mu", "actor.log_std"), "actor.log_std"),
}
"""Networks whose heads stand elsewhere in the policy: role, heads, and `Chain.noise`."""
_WITH_HEAD = re.compile(r"q_net(_target)?\.q_net|actor(_target)?\.mu|critic(_target)?\.(?P<critic>qf\d+)")
"""Networks whose last synapses are their head."""


@dataclass(frozen=True)
class Chain:
    """One network with hidden neurons; all names are those of modules or parameters in the policy."""

    role: str
    """actor, critic, or qf0, qf1, … (critics of SAC and TD3); targets have the role of the network that they follow."""
    is_target: bool
    synapses: tuple[str, ...]
    """The linear layer before each hidden layer."""
    neurons: tuple[str, ...]
    """The neurons, or the activation function, of each hidden layer."""
    heads: tuple[str, ...]
    """The linear layers that read the last hidden layer."""
    noise: str | None
    """gSDE's logarithmic standard deviations, one row for each neuron of the last hidden layer."""

    @property
    def code(self) -> str:
        """The encoder of a `SpikingMLP`; other networks have no module of this name."""
        return f"{self.synapses[0].rsplit('.', 2)[0]}.encoder"

    def layers(self) -> list[str]:
        """A name for each hidden layer, which says its role: ``actor.0``, ``actor.1``, …"""
        return [f"{self.role}.{number}" for number in range(len(self.synapses))]

    def readers(self, layer: int) -> tuple[str, ...]:
        """The linear layers that read hidden layer number ``layer``; -1 is the input."""
        return self.heads if layer == len(self.synapses) - 1 else (self.synapses[layer + 1],)


def chains(policy: nn.Module) -> dict[str, Chain]:
    """The chains of a policy, this project's or SB3's, by the names of the networks; linear networks are left out."""
    return {name: chain for name, chain in _candidates(policy) if chain.synapses}


def same_networks(parent: nn.Module, child: nn.Module) -> dict[str, Chain]:
    """The chains of ``parent``; ValueError unless ``child`` has the same networks, of the same depth."""
    theirs, own = chains(parent), chains(child)
    if theirs.keys() != own.keys():
        got, allowed = ", ".join(own), ", ".join(theirs)
        raise ValueError(f"policy: got the networks {got} for the child, allowed are those of the parent: {allowed}")
    for name, chain in own.items():
        depth, allowed_depth = len(chain.synapses), len(theirs[name].synapses)
        if depth != allowed_depth:
            got = f"{depth} hidden layers in {name} of the child"
            raise ValueError(f"net_arch: got {got}, allowed are {allowed_depth}, as many as the parent has")
    return theirs


def linear(policy: nn.Module, name: str) -> nn.Linear:
    """The linear layer of this name."""
    return cast(nn.Linear, policy.get_submodule(name))


def widths(policy: nn.Module, chain: Chain) -> list[int]:
    """The number of neurons in each hidden layer."""
    return [linear(policy, name).out_features for name in chain.synapses]


def outgoing_norms(policy: nn.Module, chain: Chain, layer: int) -> Tensor:
    """The norm (n,) of the outgoing weights of each neuron in hidden layer number ``layer``."""
    return torch.cat([linear(policy, name).weight.detach() for name in chain.readers(layer)]).norm(dim=0).cpu()


def _candidates(policy: nn.Module) -> Iterator[tuple[str, Chain]]:
    modules = dict(policy.named_modules())
    linears = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    matrices = {name for name, parameter in policy.named_parameters() if parameter.dim() == 2}
    for name in modules:
        if name in _HEADS:
            role, behind, noise = _HEADS[name]
            heads = [linear for linear in linears if linear.startswith(behind)]
            yield name, _chain(role, name, _inside(name, linears), heads, noise if noise in matrices else None)
        elif match := _WITH_HEAD.fullmatch(name):
            *synapses, head = _inside(name, linears) or [""]
            yield name, _chain(match["critic"] or "actor", name, synapses, [head], None)


def _inside(name: str, linears: list[str]) -> list[str]:
    return [linear for linear in linears if linear.startswith(f"{name}.")]


def _chain(role: str, name: str, synapses: list[str], heads: list[str], noise: str | None) -> Chain:
    return Chain(role, "_target." in name, tuple(synapses), tuple(map(_behind, synapses)), tuple(heads), noise)


def _behind(name: str) -> str:
    """The next layer in a container that numbers its layers."""
    container, _, number = name.rpartition(".")
    return f"{container}.{int(number) + 1}"
