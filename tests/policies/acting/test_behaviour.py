from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from snn4.envs.control import make_control
from snn4.learners.algorithms import LearnerConfig, make_policy
from snn4.policies.acting.behaviour import Behaviour, head_outputs
from snn4.policies.sb3 import PolicyConfig


def make(algorithm: Any, kind: Any = "spiking", environment: str | None = None, **policy: Any) -> Any:
    torch.manual_seed(0)
    env = make_control(environment or ("Pendulum-v1" if algorithm in ("SAC", "TD3") else "CartPole-v1"))
    return make_policy(LearnerConfig(algorithm), PolicyConfig(kind, (16, 16), **policy), env)


def observations_for(policy: Any, n: int = 40) -> torch.Tensor:
    return torch.randn(n, *policy.observation_space.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["spiking", "ann"])
@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "DQN", "SAC", "TD3"])
def test_outputs_are_what_the_policy_acts_on(algorithm: str, kind: str) -> None:
    policy = make(algorithm, kind)
    observations = observations_for(policy)
    with torch.no_grad():
        outputs = head_outputs(policy, observations)
        if algorithm in ("PPO", "A2C"):
            logits = policy.get_distribution(observations).distribution.logits
            torch.testing.assert_close(outputs.log_softmax(1), logits.log_softmax(1))
        actions = policy._predict(observations, deterministic=True)
    if algorithm in ("PPO", "A2C", "DQN"):
        assert torch.equal(outputs.argmax(1), actions)
    else:
        torch.testing.assert_close(outputs.tanh() if algorithm == "SAC" else outputs, actions)


def test_distance_of_choices_is_the_divergence_of_their_probabilities() -> None:
    policy = make("PPO")
    behaviour, rows = Behaviour.of(policy, observations_for(policy)), torch.tensor([3, 1, 20])
    outputs = torch.randn(3, 2, generator=torch.Generator().manual_seed(2))
    divergence = kl_divergence(Categorical(logits=behaviour.outputs[rows]), Categorical(logits=outputs)).mean()
    torch.testing.assert_close(behaviour.distance(outputs, rows), divergence)
    assert behaviour.distance(behaviour.outputs[rows], rows).item() == pytest.approx(0, abs=1e-7)


def test_distance_of_means_is_that_of_gaussians() -> None:
    policy = make("SAC")
    behaviour, rows = Behaviour.of(policy, observations_for(policy)), torch.arange(5)
    outputs = torch.randn(5, 1, generator=torch.Generator().manual_seed(2))
    then, now = (Normal(x, behaviour.scale) for x in (behaviour.outputs[rows], outputs))
    torch.testing.assert_close(behaviour.distance(outputs, rows), kl_divergence(then, now).sum(1).mean())


def test_preferences_do_not_depend_on_the_scale_of_values() -> None:
    policy = make("DQN")
    small = Behaviour.of(policy, observations_for(policy))
    with torch.no_grad():
        head = policy.q_net.q_net[1]
        head.weight *= 100
        head.bias *= 100
    large = Behaviour.of(policy, observations_for(policy))
    torch.testing.assert_close(large.outputs / large.scale, small.outputs / small.scale)


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
def test_log_probability_of_drawn_actions_has_no_mean_slope(algorithm: str) -> None:
    """E[grad log p] = 0 under the distribution itself: the outputs are the distribution of the draws."""
    policy = make(algorithm)
    behaviour, generator = Behaviour.of(policy, observations_for(policy)), torch.Generator().manual_seed(0)
    outputs = behaviour.outputs[:1].repeat(20_000, 1).requires_grad_()
    behaviour.log_probability(outputs, generator).backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    spread = outputs.grad.std(0)
    assert (spread > 0).all()
    assert (outputs.grad.mean(0).abs() < 4 * spread / 20_000**0.5).all()


def test_actions_are_drawn_on_the_cpu_for_any_device() -> None:
    policy = make("SAC")  # choices would have to be copied from the device
    behaviour = Behaviour.of(policy, observations_for(policy))
    behaviour.scale = behaviour.scale.to("meta")
    assert behaviour.log_probability(behaviour.outputs.to("meta"), torch.Generator()).is_meta


def test_a_policy_that_remembers_is_refused() -> None:
    env = make_control("CartPole-v1")
    policy = make_policy(LearnerConfig("PPO"), PolicyConfig(state="carry", T=1, net_arch=(8, 8)), env)
    with pytest.raises(ValueError, match=r"^policy: got one that carries its state"):
        head_outputs(policy, torch.zeros(1, 4))


def test_plain_data_restores_the_behaviour() -> None:
    policy = make("DQN")
    behaviour = Behaviour.of(policy, observations_for(policy))
    again, rows = Behaviour(**behaviour.state()), torch.arange(4)
    assert torch.equal(again.distance(behaviour.outputs[4:8], rows), behaviour.distance(behaviour.outputs[4:8], rows))
