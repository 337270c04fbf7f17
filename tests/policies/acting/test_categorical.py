from __future__ import annotations

import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.distributions import CategoricalDistribution
from torch.distributions import Categorical

from snn4.policies.acting.categorical import LeanCategorical
from snn4.policies.sb3 import SpikingActorCriticPolicy


@pytest.fixture
def logits() -> torch.Tensor:
    return 5 * torch.randn(40, 7, generator=torch.Generator().manual_seed(0))


def test_equals_that_of_stable_baselines3(logits: torch.Tensor) -> None:
    actions = torch.arange(40) % 7
    for quantity in (lambda d: d.log_prob(actions), lambda d: d.entropy()):
        pairs = []
        for kind in (LeanCategorical, CategoricalDistribution):
            x = logits.clone().requires_grad_()
            values = quantity(kind(7).proba_distribution(x))
            pairs.append((values, torch.autograd.grad(values.sum(), x)[0]))
        torch.testing.assert_close(*pairs)
    lean, plain = (kind(7).proba_distribution(logits) for kind in (LeanCategorical, CategoricalDistribution))
    assert torch.equal(lean.mode(), plain.mode())
    torch.testing.assert_close(lean.distribution.probs, plain.distribution.probs)


def test_actions_and_rows_broadcast_as_in_stable_baselines3(logits: torch.Tensor) -> None:
    rows = logits[:5]
    lean, plain = (kind(7).proba_distribution(rows) for kind in (LeanCategorical, CategoricalDistribution))
    for actions in (torch.tensor([3]), torch.tensor(3), torch.arange(7)[:, None].expand(7, 5)):
        torch.testing.assert_close(lean.log_prob(actions), plain.log_prob(actions))


def test_draws_what_stable_baselines3_draws(logits: torch.Tensor) -> None:
    draws = []
    for kind in (LeanCategorical, CategoricalDistribution):
        torch.manual_seed(1)
        distribution = kind(7).proba_distribution(logits)
        draws.append(torch.stack([distribution.get_actions() for _ in range(50)]))
    assert torch.equal(*draws)
    assert len(draws[0].unique()) == 7


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_policies_use_it_for_discrete_actions_alone(algorithm: type) -> None:
    discrete = algorithm(SpikingActorCriticPolicy, "CartPole-v1").policy
    continuous = algorithm(SpikingActorCriticPolicy, "Pendulum-v1").policy
    assert type(discrete.action_dist) is LeanCategorical
    assert not isinstance(continuous.action_dist, CategoricalDistribution)
    distribution = discrete.get_distribution(torch.zeros(3, 4)).distribution
    assert isinstance(distribution, Categorical)
    assert distribution.probs.shape == (3, 2)
