"""A policy of stable-baselines3 as a pupil: what it decides, what its critic expects, and its losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from torch import Tensor

from snn4.learners.policy_distillation import (
    PolicyTeacherConfig,
    action_error,
    agreement,
    best_action_loss,
    preferences_divergence,
)
from snn4.policies.acting.behaviour import head_outputs


@dataclass(frozen=True)
class Pupil:
    """``policy`` with the lessons of ``config``, from a teacher that gives Q-values or not (``from_values``)."""

    policy: Any
    config: PolicyTeacherConfig
    from_values: bool

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Those of its acting network and of its critic."""
        parts = [getattr(self.policy, name, None) for name in ("actor", "critic")]
        return [part.optimizer for part in parts if part is not None] or [self.policy.optimizer]

    @property
    def half_range(self) -> Tensor | None:
        """Half the range (n,) of each action of a Box; None for Discrete actions."""
        space = self.policy.action_space
        if isinstance(space, spaces.Discrete):
            return None
        return torch.from_numpy((space.high - space.low).reshape(-1) / 2).to(self.policy.device)

    @property
    def sharpness(self) -> float:
        """Factor of the loss of a DQN pupil: the gradient of its Q-values is then that of logits."""
        return self._temperature if isinstance(self.policy, DQNPolicy) and self._loss == "kl" else 1.0

    def distance(self, observations: Tensor, advice: Tensor) -> Tensor:
        """The loss of its decisions; see `losses`."""
        if self._loss == "nll" and self.half_range is not None:
            features: Any = self.policy.extract_features(observations, self.policy.pi_features_extractor)
            return self._unlikelihood(self.policy.mlp_extractor.forward_actor(features), advice)
        return self._distance(self.decide(observations), advice)

    def losses(self, observations: Tensor, advice: Tensor, actions: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of its decisions, and of what its critic expects.

        Args:
            observations: (B, …), as the policy gets them.
            advice: the teacher's outputs (B, n).
            actions: taken at the observations (B, m), as SB3's buffers keep them.
            goals: returns (B,) after these actions.
        """
        policy = self.policy
        if isinstance(policy, ActorCriticPolicy):
            features: Any = policy.extract_features(observations)
            parts = (features, features) if policy.share_features_extractor else features
            latent = policy.mlp_extractor.forward_actor(parts[0])
            values = policy.value_net(policy.mlp_extractor.forward_critic(parts[1]))
            if self._loss == "nll" and self.half_range is not None:
                return self._unlikelihood(latent, advice), _error(values, goals)
            outputs = policy.action_net(latent)
        elif isinstance(policy, DQNPolicy):
            outputs = policy.q_net(observations)
            values = outputs.gather(1, actions.long())
        else:
            outputs = self.decide(observations)
            values = torch.cat(policy.critic(observations, actions), 1)
        return self._distance(outputs, advice), _error(values, goals)

    def _unlikelihood(self, latent: Tensor, advice: Tensor) -> Tensor:
        """Negative log-likelihood of the teacher's actions in the Gaussians of PPO and A2C."""
        actions = advice.reshape(-1, *self.policy.action_space.shape)
        return -self.policy._get_action_dist_from_latent(latent).log_prob(actions).mean()  # type: ignore[no-any-return]

    def _distance(self, outputs: Tensor, advice: Tensor) -> Tensor:
        if self.half_range is not None:
            return action_error(outputs, advice, self.half_range)
        match self._loss:
            case "mse":
                return ((outputs - advice) ** 2).mean()
            case "nll":
                return best_action_loss(outputs, advice)
        own = self._temperature if isinstance(self.policy, DQNPolicy) else 1.0
        return preferences_divergence(outputs / own, advice / self._temperature)

    def decide(self, observations: Tensor) -> Tensor:
        """Its logits or Q-values, or its mean actions in the environment's units (B, n)."""
        outputs = head_outputs(self.policy, observations)
        if isinstance(self.policy, (ActorCriticPolicy, DQNPolicy)):
            return outputs
        half = self.half_range
        assert half is not None  # SAC and TD3 have Box actions
        bounded = outputs.tanh() if isinstance(self.policy, SACPolicy) else outputs
        return torch.from_numpy(self.policy.action_space.low.reshape(-1)).to(bounded) + (bounded + 1) * half

    @torch.no_grad()
    def values(self, observations: Tensor) -> Tensor:
        """The return (B,) that its critic expects after ``observations`` (B, …)."""
        policy = self.policy
        if isinstance(policy, ActorCriticPolicy):
            return policy.predict_values(observations).squeeze(1)
        if isinstance(policy, DQNPolicy):
            return policy.q_net(observations).amax(1)
        best = {"deterministic": True} if isinstance(policy, SACPolicy) else {}
        return torch.cat(policy.critic(observations, policy.actor(observations, **best)), 1).amin(1)  # type: ignore[no-any-return]

    @torch.no_grad()
    def agreement(self, observations: Tensor, advice: Tensor) -> float:
        """Its `agreement` with the teacher on ``observations`` (B, …)."""
        return agreement(self.decide(observations), advice, self.half_range)

    def finish(self) -> None:
        """Begin anew what learned from the lessons alone: averages in optimizers, and target networks."""
        for optimizer in self.optimizers:
            optimizer.state.clear()
        for name in ("q_net", "actor", "critic"):
            if (target := getattr(self.policy, f"{name}_target", None)) is not None:
                target.load_state_dict(getattr(self.policy, name).state_dict())

    @property
    def _loss(self) -> str:
        return self.config.loss_for(self.policy.action_space)

    @property
    def _temperature(self) -> float:
        return self.config.temperature or (0.01 if self.from_values else 1.0)


def _error(values: Tensor, goals: Tensor) -> Tensor:
    """Mean squared error of ``values`` (B, critics)."""
    return ((values - goals[:, None]) ** 2).mean()
