"""SB3's acting networks of DQN, SAC and TD3 with spiking layers, which can be saved and loaded separately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from stable_baselines3.dqn.policies import QNetwork
from stable_baselines3.sac.policies import Actor as SACActor
from stable_baselines3.td3.policies import Actor as TD3Actor
from torch import Tensor, nn

from snn4.policies.acting.deciding import WarnsOfNaN
from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.acting.waking import watch_over
from snn4.policies.finite import require_decision


class _SpikingNetwork(WarnsOfNaN):
    """Base of the networks. It takes SB3's arguments and ``spiking``, the arguments of `SpikingMLP`.

    ``save`` and ``load`` keep ``spiking``. With an empty ``net_arch``, the network is SB3's linear one.
    """

    features_dim: int
    net_arch: list[int]

    def __init__(self, *args: Any, spiking: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spiking = spiking
        if self.net_arch:
            body = SpikingMLP(self.features_dim, self.net_arch, **spiking)
            watch_over(body, "actor")
            self.put_in(body)

    def put_in(self, body: SpikingMLP) -> None:
        """Replace SB3's hidden layers by ``body``."""
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """As SB3's; ValueError if NaN would decide."""
        values: Tensor = super().forward(*args, **kwargs)  # type: ignore[misc]
        if not torch.is_grad_enabled():
            require_decision(values)
        return values

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "spiking": self.spiking}  # type: ignore[misc]


class SpikingQNetwork(_SpikingNetwork, QNetwork):
    """Spiking Q-network of DQN: observations (B, …) -> values (B, n_actions)."""

    def put_in(self, body: SpikingMLP) -> None:
        self.q_net = nn.Sequential(body, self.q_net[-1])


class SpikingSACActor(_SpikingNetwork, SACActor):
    """Spiking actor of SAC: observations (B, …) -> actions (B, n), from -1 to 1."""

    def put_in(self, body: SpikingMLP) -> None:
        self.latent_pi = body  # type: ignore[assignment]


class SpikingTD3Actor(_SpikingNetwork, TD3Actor):
    """Spiking actor of TD3: observations (B, …) -> actions (B, n), from -1 to 1."""

    def put_in(self, body: SpikingMLP) -> None:
        self.mu = nn.Sequential(body, *self.mu[-2:])
