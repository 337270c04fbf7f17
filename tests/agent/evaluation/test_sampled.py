from __future__ import annotations

import pytest
import torch

from snn4.agent.evaluation.episodes import evaluate
from snn4.agent.evaluation.sampled import MOST, sampled
from snn4.envs.control import make_control
from snn4.learners.algorithms import LearnerConfig, make_policy
from snn4.policies.sb3 import PolicyConfig


@pytest.mark.parametrize("coding", ["direct", "population"])
def test_a_sample_of_all_decisions_costs_what_an_evaluation_measures(coding: str) -> None:
    from snn4.policies.coding import CodingConfig

    torch.manual_seed(0)
    env = make_control("CartPole-v1", 5)
    policy = make_policy(LearnerConfig(), PolicyConfig(T=2, coding=CodingConfig(coding)), env)  # type: ignore[arg-type]
    score, returns = sampled(policy, env, 5, 7)
    metered = evaluate(policy, env, 5, 7)
    assert sum(returns) < MOST  # all decisions are in the sample
    assert score["return_mean"] == metered["return_mean"] == sum(returns) / 5
    for name in ("effective_acs", "effective_macs", "spikes_per_decision"):
        assert score[name] == pytest.approx(metered[name])


def test_returns_are_in_the_order_of_the_copies() -> None:
    torch.manual_seed(1)
    env = make_control("CartPole-v1", 4)
    policy = make_policy(LearnerConfig(), PolicyConfig(T=2), env)
    _, returns = sampled(policy, env, 4, 3)
    assert returns == sampled(policy, env, 4, 3)[1]
    assert returns != sorted(returns)
