"""What a policy does: the outputs of its acting head on observations, and how far other outputs are from those."""

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
    """What the acting head says of observations (B, …), as the policy is shown them: logits, values or means (B, n).

    Raises:
        ValueError: for a policy that remembers, whose outputs depend on more.
    """
    if hasattr(policy, "lstm_actor"):
        raise ValueError("policy: got one that carries its state, allowed are policies that see only the present")
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
    """Observations (N, …) as a policy was shown them, and what its head said (N, n).

    Discrete actions are a choice with probabilities softmax(outputs / scale); the scale of Q-values is their mean
    spread over actions, so that they too say clearly, but not with certainty, what is preferred. All other outputs are
    means of Gaussians that are as wide (n,) as the outputs are spread over the observations.
    """

    observations: Tensor
    outputs: Tensor
    scale: Tensor
    chooses: bool

    @classmethod
    @torch.no_grad()
    def of(cls, policy: BasePolicy, observations: Tensor) -> Behaviour:
        """What ``policy`` does now."""
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
        """How far ``outputs`` (B, n) on the observations at ``rows`` (B,) are from those of then.

        The Kullback-Leibler divergence from then to now, mean over B.
        """
        then, now = self.outputs[rows] / self.scale, outputs / self.scale
        if not self.chooses:
            return ((then - now) ** 2).sum(1).mean() / 2
        then, now = then.log_softmax(1), now.log_softmax(1)
        return (then.exp() * (then - now)).sum(1).mean()

    def log_probability(self, outputs: Tensor, random: torch.Generator) -> Tensor:
        """Of actions that are drawn, on the CPU, as ``outputs`` (B, n) say; the sum over B, to be differentiated."""
        now = outputs / self.scale
        if not self.chooses:
            drawn = now.detach() + torch.randn(now.shape, generator=random).to(now)
            return -((drawn - now) ** 2).sum() / 2
        chances = now.log_softmax(1)
        drawn = torch.multinomial(chances.detach().exp().cpu(), 1, generator=random)
        return chances.gather(1, drawn.to(chances.device)).sum()

    def state(self) -> dict[str, Any]:
        """Plain data and tensors, from which ``Behaviour(**state)`` is the same again."""
        return vars(self).copy()
