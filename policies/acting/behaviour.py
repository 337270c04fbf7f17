"""Behaviour of a policy: the outputs of its acting head for observations, and the distance of other outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from torch import Tensor


def head_outputs(policy: BasePolicy, observations: Tensor) -> Tensor:
    """Outputs of the acting head, logits, values or means (B, n), for ``observations`` (B, …) as the policy gets them.

    Raises:
        ValueError: for a policy with memory, whose outputs depend on earlier observations.
    """
    if hasattr(policy, "lstm_actor"):
        raise ValueError("policy: got one that carries its state, allowed are policies without memory")
    if isinstance(policy, DQNPolicy):
        return policy.q_net(observations)  # type: ignore[no-any-return]
    if isinstance(policy, SACPolicy):
        return policy.actor.get_action_dist_params(observations)[0]
    if isinstance(policy, ActorCriticPolicy):
        features: Any = policy.extract_features(observations, policy.pi_features_extractor)
        return policy.action_net(policy.mlp_extractor.forward_actor(features))  # type: ignore[no-any-return]
    return policy.actor(observations)  # type: ignore[no-any-return, operator, union-attr]  # TD3


@dataclass
class Behaviour:
    """Observations (N, …) as a policy received them, and the outputs of its head (N, n).

    Discrete actions have probabilities softmax(outputs / scale). The scale of Q-values is their standard deviation over
    actions, averaged over observations, so that they express a clear preference, but no certainty. All other outputs
    are means of Gaussians. The standard deviation of these Gaussians (n,) is that of the outputs over the observations.
    """

    observations: Tensor
    outputs: Tensor
    scale: Tensor
    chooses: bool

    @classmethod
    @torch.no_grad()
    def of(cls, policy: BasePolicy, observations: Tensor) -> Behaviour:
        """The current behaviour of ``policy``."""
        outputs = torch.cat([head_outputs(policy, part) for part in observations.split(256)])
        chooses = isinstance(policy.action_space, spaces.Discrete)
        scale = torch.ones(())
        if isinstance(policy, DQNPolicy):
            scale = outputs.std(1).mean()
        elif not chooses:
            scale = outputs.std(0, correction=0)
        return cls(observations, outputs, scale.clamp(min=1e-6), chooses)

    def __len__(self) -> int:
        return len(self.outputs)

    def distance(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Distance of ``outputs`` (B, n) for the observations at ``rows`` (B,) from the recorded outputs.

        It is the Kullback-Leibler divergence from the recorded to the new outputs, averaged over B.
        """
        recorded, current = self.outputs[rows] / self.scale, outputs / self.scale
        if not self.chooses:
            return ((recorded - current) ** 2).sum(1).mean() / 2
        recorded, current = recorded.log_softmax(1), current.log_softmax(1)
        return (recorded.exp() * (recorded - current)).sum(1).mean()

    def log_probability(self, outputs: Tensor, random: torch.Generator) -> Tensor:
        """Log-probability, summed over B, of actions drawn on the CPU from ``outputs`` (B, n); differentiable."""
        scaled = outputs / self.scale
        if not self.chooses:
            actions = scaled.detach() + torch.randn(scaled.shape, generator=random).to(scaled)
            return -((actions - scaled) ** 2).sum() / 2
        log_probs = scaled.log_softmax(1)
        actions = torch.multinomial(log_probs.detach().exp().cpu(), 1, generator=random)
        return log_probs.gather(1, actions.to(log_probs.device)).sum()

    def state(self) -> dict[str, Any]:
        """Plain data and tensors, from which ``Behaviour(**state)`` restores this behaviour."""
        return vars(self).copy()
