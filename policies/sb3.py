"""Spiking policies for stable-baselines3, used like its own: ``PPO(SpikingActorCriticPolicy, "CartPole-v1")``.

Each policy takes SB3's policy arguments and, through ``policy_kwargs``, those of `_Spiking`.
Dict observations need no separate policy: the default features extractor for them is SB3's CombinedExtractor.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, MlpExtractor, NatureCNN
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from stable_baselines3.sac.policies import Actor as SACActor
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import Actor as TD3Actor
from stable_baselines3.td3.policies import TD3Policy
from torch import nn

from snn4.policies.acting.actors import SpikingQNetwork, SpikingSACActor, SpikingTD3Actor
from snn4.policies.acting.arguments import (
    architecture,
    check_known,
    config_of,
    neuron_of,
    not_negative,
    one_of,
    warn_of_activation,
    whole_number,
)
from snn4.policies.acting.categorical import LeanCategorical
from snn4.policies.acting.chains import chains
from snn4.policies.acting.config import BackendName, CodingName, ReadoutName
from snn4.policies.acting.config import PolicyConfig as PolicyConfig
from snn4.policies.acting.deciding import ActingLayers, Copyable, Deciding, WarnsOfNaN
from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.acting.spaces import require_plain
from snn4.policies.acting.waking import follow, watch_over
from snn4.policies.backends import BACKENDS
from snn4.policies.coding import Bounds, CodingConfig
from snn4.policies.decoding import DECODERS
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sparse import SPARSEST, keep_absent, prune


class _Spiking(Deciding, WarnsOfNaN, Copyable):
    """The arguments that spiking policies add to SB3's, which ``save`` and ``load`` keep.

    ``net_arch`` is SB3's: a list of layer sizes, or a mapping from actor and critic to such a list. As in SB3, an empty
    list gives a linear network, without any spikes. ``activation_fn`` applies to artificial critics. If a new layer
    does not spike for the first observations that it learns from, its weights are enlarged with a warning (`Waking`).

    Args:
        T: inner steps per decision.
        neuron: neurons of all layers: a `NeuronConfig`, a mapping of its fields, or the name of a kind.
        coding: a `CodingConfig`, a mapping of its fields, or the name of a code.
        readout: ``"rate"``, ``"membrane"``, ``"weighted"`` or ``"first_spike"``.
        backend: ``"torch"``, ``"snntorch"`` or ``"norse"``.
        residual: whether ``predict`` starts a decision from what the one before has left in the membranes.
        spike_cost: cost of spikes while the actor learns: the loss gets this cost times the mean spike rate of its
            hidden neurons as a term (`snn4.policies.acting.spike_cost`).
        sparsity: fraction of synapses, from 0 to 0.95, that are absent from each layer of the actor before its action
            head (`snn4.policies.sparse.SparseLinear`).
        bounded: whether codes that cover a range take the range of the observation space. False for observations that
            leave this range: behind VecNormalize, which does not change the space.

    Raises:
        ValueError: for an argument of a wrong value, and for spaces with which SB3 would learn wrongly
            (`require_plain`); the message names the argument, the value and what is allowed.
        TypeError: for an argument that the policy does not have.
    """

    optimizer_defaults: ClassVar[dict[str, Any]] = {"fused": True}
    """SB3's Adam, with one call for all parameters instead of a dozen calls for each."""
    arch_behind_images: ClassVar[list[int] | None] = [64, 64]
    """Default ``net_arch`` behind NatureCNN, where SB3 has no layer; None keeps SB3's default."""
    arch_parts: ClassVar[tuple[str, ...]] = ("pi", "qf")
    """The keys of ``net_arch`` if it is a mapping."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: Any = None,
        *args: Any,
        T: int = 4,
        neuron: NeuronConfig | Mapping[str, Any] | str | None = None,
        coding: CodingConfig | Mapping[str, Any] | CodingName = "direct",
        readout: ReadoutName = "rate",
        backend: BackendName = "torch",
        residual: bool = False,
        spike_cost: float = 0.0,
        sparsity: float = 0.0,
        bounded: bool = True,
        **kwargs: Any,
    ) -> None:
        require_plain(observation_space, action_space)
        if isinstance(observation_space, spaces.Dict):
            kwargs.setdefault("features_extractor_class", CombinedExtractor)
        check_known(type(self), kwargs)
        if kwargs.get("optimizer_class", torch.optim.Adam) is torch.optim.Adam:
            kwargs.setdefault("optimizer_kwargs", self.optimizer_defaults)
        if net_arch is None and kwargs.get("features_extractor_class") is NatureCNN:
            net_arch = self.arch_behind_images
        if net_arch is not None:
            net_arch = self._checked_arch(net_arch)
        self.bounded = one_of("bounded", bounded, (True, False))
        # Set before SB3's constructor, which builds the networks.
        self.spiking: dict[str, Any] = {
            "T": whole_number("T", T),
            "neuron": neuron_of(neuron),
            "coding": config_of("coding", coding, CodingConfig),
            "readout": one_of("readout", readout, DECODERS),
            "backend": one_of("backend", backend, BACKENDS),
            "residual": one_of("residual", residual, (True, False)),
            "spike_cost": not_negative("spike_cost", spike_cost),
            "sparsity": not_negative("sparsity", sparsity, SPARSEST),
        }
        super().__init__(observation_space, action_space, lr_schedule, net_arch, *args, **kwargs)  # type: ignore[call-arg]
        warn_of_activation(self)
        policy: Any = self
        keep_absent(policy, getattr(policy, "actor", policy).optimizer)

    def _checked_arch(self, net_arch: Any) -> Any:
        if isinstance(net_arch, list) and len(net_arch) == 1 and isinstance(net_arch[0], Mapping):
            return [self._checked_arch(net_arch[0])]  # the form of SB3 before 1.8; SB3 warns of it
        arch = architecture(net_arch, self.arch_parts)
        if not (arch.get("pi") if isinstance(arch, dict) else arch):
            warnings.warn(
                f"net_arch: got {net_arch}, which gives the actor no layer: it is linear, and nothing spikes",
                stacklevel=3,
            )
        return arch

    def _layers(self, n_inputs: int) -> dict[str, Any]:
        """Arguments of the `SpikingMLP` that receives ``n_inputs`` features."""
        bounds = None
        if self.bounded and self.features_extractor_class is FlattenExtractor:  # type: ignore[attr-defined]
            # The outputs of other extractors have no known bounds.
            bounds = _bounds(self.observation_space, n_inputs, self.normalize_images)
        return {**self.spiking, "bounds": bounds}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **self.spiking, "bounded": self.bounded}  # type: ignore[misc]


class SpikingActorCriticPolicy(_Spiking, ActorCriticPolicy):
    """Spiking actor for PPO and A2C: SB3's arguments, those of all spiking policies, and ``critic``.

    The critic never acts. It is SB3's (``"ann"``), or it spikes as well (``"spiking"``) and then learns less steadily.
    """

    optimizer_defaults: ClassVar[dict[str, Any]] = {"fused": True, "eps": 1e-5}  # SB3's eps for PPO and A2C
    arch_parts: ClassVar[tuple[str, ...]] = ("pi", "vf")

    def __init__(self, *args: Any, critic: Literal["ann", "spiking"] = "ann", **kwargs: Any) -> None:
        self.critic_kind = one_of("critic", critic, ("spiking", "ann"))
        super().__init__(*args, **kwargs)
        if type(self.action_dist) is CategoricalDistribution:
            self.action_dist = LeanCategorical(self.action_dist.action_dim)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        prune(self)  # SB3 has drawn all weights anew (ortho_init)

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        arch = self.net_arch if isinstance(self.net_arch, dict) else {"pi": self.net_arch, "vf": self.net_arch}
        extractor: MlpExtractor = self.mlp_extractor
        if arch.get("pi"):
            extractor.policy_net = self._body(arch["pi"], "actor", self._layers(self.features_dim))  # type: ignore[assignment]
        if arch.get("vf") and self.critic_kind == "spiking":
            layers = {**self._layers(self.features_dim), "spike_cost": 0.0, "sparsity": 0.0}  # it never acts
            extractor.value_net = self._body(arch["vf"], "critic", layers)  # type: ignore[assignment]

    def _body(self, sizes: Sequence[int], name: str, layers: dict[str, Any]) -> SpikingMLP:
        body = SpikingMLP(self.features_dim, sizes, **layers)
        watch_over(body, name)
        return body

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's; UserWarning, like SB3's for PPO and A2C, when a policy without images leaves the CPU."""
        device = self.device.type
        policy = super().to(*args, **kwargs)
        if device == "cpu" != self.device.type and self.features_extractor_class is FlattenExtractor:
            warnings.warn(
                f"device: got {self.device}; policies without images act and learn faster on cpu", stacklevel=3
            )
        return policy

    def acting_layers(self) -> ActingLayers:
        # SB3 bounds these actions by tanh only with gSDE and squash_output, which it does not recommend.
        is_standard = type(self.mlp_extractor) is MlpExtractor and not self.squash_output
        body = self.mlp_extractor.policy_net if is_standard else None
        return ActingLayers(self.pi_features_extractor, body, self.action_net, False)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "critic": self.critic_kind}


class SpikingDQNPolicy(_Spiking, DQNPolicy):
    """Spiking Q-network for DQN: SB3's arguments and those of all spiking policies."""

    arch_parts: ClassVar[tuple[str, ...]] = ()

    def set_training_mode(self, mode: bool) -> None:
        super().set_training_mode(mode)
        if mode:  # an update begins
            follow(self.q_net_target, self.q_net)

    def make_q_net(self) -> QNetwork:
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        return SpikingQNetwork(**arguments, spiking=self._layers(arguments["features_dim"])).to(self.device)

    def acting_layers(self) -> ActingLayers:
        return ActingLayers(self.q_net.features_extractor, *_body_and_head(self.q_net.q_net), False)


class SpikingSACPolicy(_Spiking, SACPolicy):
    """Spiking actor and ANN critics for SAC: SB3's arguments and those of all spiking policies."""

    arch_behind_images: ClassVar[list[int] | None] = None

    def make_actor(self, features_extractor: Any = None) -> SACActor:
        arguments = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return SpikingSACActor(**arguments, spiking=self._layers(arguments["features_dim"])).to(self.device)

    def acting_layers(self) -> ActingLayers:
        # With gSDE, SB3 bounds the mean a second time, so the head has more than one layer: torch runs it.
        return ActingLayers(self.actor.features_extractor, self.actor.latent_pi, self.actor.mu, True)


class SpikingTD3Policy(_Spiking, TD3Policy):
    """Spiking actor and ANN critics for TD3: SB3's arguments and those of all spiking policies."""

    arch_behind_images: ClassVar[list[int] | None] = None

    def set_training_mode(self, mode: bool) -> None:
        super().set_training_mode(mode)
        if mode:  # an update begins
            follow(self.actor_target, self.actor)

    def make_actor(self, features_extractor: Any = None) -> TD3Actor:
        arguments = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return SpikingTD3Actor(**arguments, spiking=self._layers(arguments["features_dim"])).to(self.device)

    def acting_layers(self) -> ActingLayers:
        return ActingLayers(self.actor.features_extractor, *_body_and_head(self.actor.mu, nn.Tanh), True)


def _body_and_head(network: nn.Module, *behind: type[nn.Module]) -> tuple[nn.Module | None, nn.Module]:
    """The two layers before ``behind`` in a network of this module; ``(None, network)`` for any other network."""
    layers = [*network.children()]
    rest = tuple(type(layer) for layer in layers[2:])
    is_standard = type(network) is nn.Sequential and rest == behind and len(layers) > 1
    return (layers[0], layers[1]) if is_standard else (None, network)


def _bounds(space: spaces.Space[Any], n_inputs: int, normalize_images: bool) -> Bounds | None:
    """Bounds of the observation after SB3's preprocessing, by which images and one-hot codes range from 0 to 1."""
    if isinstance(space, spaces.Box) and not (normalize_images and is_image_space(space)):
        if space.low.size != n_inputs:
            return None
        return space.low.ravel().astype(np.float32), space.high.ravel().astype(np.float32)
    if isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        return np.zeros(n_inputs, np.float32), np.ones(n_inputs, np.float32)
    return None


def trunk_names(policy: nn.Module) -> dict[str, str]:
    """Parameters that tasks share: ``{"actor.0.weight": name in policy.state_dict()}``.

    The policy may be this project's or SB3's. The trunk consists of all synapses between hidden layers. Each task has
    its own first layer, which depends on the observation, and its own heads, which depend on the action. Target
    networks are not listed, because they follow.
    """
    names: dict[str, str] = {}
    for chain in chains(policy).values():
        if chain.role in ("actor", "critic") and not chain.is_target:
            inner = enumerate(chain.synapses[1:])
            names |= {f"{chain.role}.{i}.{p}": f"{name}.{p}" for i, name in inner for p in ("weight", "bias")}
    return names


def acting_modules(policy: Any) -> list[nn.Module]:
    """The modules with which a spiking ``policy`` decides, in order: features, hidden layers, action head."""
    if hasattr(policy, "lstm_actor"):
        return [policy.pi_features_extractor, policy.lstm_actor, policy.action_net]
    extractor, body, head, _ = policy.acting_layers()
    return [part for part in (extractor, body, head) if part is not None]
