"""Discrete actions at low cost in learning: stable-baselines3's categorical distribution without its overhead."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.distributions import CategoricalDistribution
from torch import Tensor
from torch.distributions import Categorical

from snn4.policies.finite import require_decision


class LeanCategorical(CategoricalDistribution):
    """SB3's distribution, computed directly from log-probabilities (B, n_actions).

    torch's class checks all its arguments. For a policy with a few thousand weights, these checks take as long as the
    network. This class only checks that NaN never decides on an action.
    """

    log_probs: Tensor

    def proba_distribution(self, action_logits: Tensor) -> LeanCategorical:
        self.log_probs = torch.log_softmax(action_logits, -1)
        return self

    @property
    def distribution(self) -> Categorical:
        """The same distribution as torch's class."""
        return Categorical(logits=self.log_probs)

    @distribution.setter
    def distribution(self, value: Any) -> None:
        """None deletes it: SB3 sets None before a distribution exists."""
        if value is None:
            vars(self).pop("log_probs", None)

    def log_prob(self, actions: Tensor) -> Tensor:
        chosen, log_probs = torch.broadcast_tensors(actions.long().unsqueeze(-1), self.log_probs)
        return log_probs.gather(-1, chosen[..., :1]).squeeze(-1)

    def entropy(self) -> Tensor:
        finite = self.log_probs.clamp(min=torch.finfo(self.log_probs.dtype).min)  # an impossible action contributes 0
        return -(self.log_probs.exp() * finite).sum(-1)

    def sample(self) -> Tensor:
        if not self.log_probs.is_cpu:
            require_decision(self.log_probs)
        try:
            return torch.multinomial(self.log_probs.exp(), 1).squeeze(-1)
        except RuntimeError:  # on a CPU, torch itself detects NaN
            require_decision(self.log_probs)
            raise

    def mode(self) -> Tensor:
        require_decision(self.log_probs)
        return self.log_probs.argmax(-1)
