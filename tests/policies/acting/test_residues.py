"""Decisions that start from what the ones before have left in the membranes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC

from snn4.envs.control import make_control
from snn4.policies.neurons import Neuron
from snn4.policies.sb3 import SpikingActorCriticPolicy, SpikingDQNPolicy, SpikingSACPolicy

IF = {"kind": "if", "v_leak": 0.5}
KWARGS: dict[str, Any] = {"net_arch": [16], "T": 4, "neuron": IF, "residual": True}


def agent(**changes: Any) -> PPO:
    kwargs = KWARGS | changes
    return PPO(SpikingActorCriticPolicy, make_control("CartPole-v1"), policy_kwargs=kwargs, seed=0, device="cpu")


def by_hand(policy: Any, observations: list[np.ndarray]) -> list[np.ndarray]:
    """Membranes (B, n) of the only layer after each decision, from its equations."""
    synapses, neuron = policy.mlp_extractor.policy_net.layers
    assert isinstance(neuron, Neuron)
    weight, bias = (x.detach().double().numpy() for x in (synapses.weight, synapses.bias))
    v = np.full((len(observations[0]), len(bias)), 0.5)
    left = []
    for observation in observations:
        for _ in range(4):
            u = v + observation.astype(np.float64) @ weight.T + bias
            v = u - (u >= 1)
        v = np.where((v >= 0) & (v < 1), v, 0.5)
        left.append(v)
    return left


def test_membranes_are_those_of_the_equations() -> None:
    policy = agent().policy
    random = np.random.default_rng(0)
    observations = [random.normal(size=(3, 4)).astype(np.float32) for _ in range(6)]
    state: Any = None
    for observation, expected in zip(observations, by_hand(policy, observations), strict=True):
        _, state = policy.predict(observation, state, np.zeros(3, bool), deterministic=True)
        (left,) = state
        assert left.shape == (1, 3, 16)
        np.testing.assert_allclose(left[0], expected, atol=1e-4)


def test_an_episode_starts_from_rest() -> None:
    policy = agent().policy
    observation = np.ones((2, 4), np.float32)
    first, from_rest = policy.predict(observation, None, np.ones(2, bool), deterministic=True)
    _, state = policy.predict(-observation, from_rest, np.zeros(2, bool), deterministic=True)
    again, (left,) = policy.predict(observation, state, np.array([True, False]), deterministic=True)
    assert first[0] == again[0]
    np.testing.assert_array_equal(left[0, 0], from_rest[0][0, 0])


def test_the_mean_over_decisions_is_finer_than_a_decision() -> None:
    """A constant observation: one decision rounds its rates to quarters, the mean of many does not."""
    policy = agent().policy
    observation = np.full((1, 4), 0.3, np.float32)
    body = policy.mlp_extractor.policy_net
    values = []
    handle = body.register_forward_hook(lambda module, inputs, output: values.append(output.detach().clone()))
    state = None
    for _ in range(64):
        _, state = policy.predict(observation, state, np.zeros(1, bool), deterministic=True)
    handle.remove()
    exact = body.layers[0](torch.from_numpy(observation)).detach().clamp(0, 1)
    # A membrane that never leaves 0 … 1 differs by less than one spike in 64 decisions of 4 steps.
    kept = (exact > 0) & (exact < 1)
    assert bool(kept.any())
    error = (torch.stack(values).mean(0) - exact)[kept].abs()
    assert float(error.max()) <= 1 / (64 * 4) + 1e-5
    assert float((values[0] - exact)[kept].abs().max()) > float(error.max())


def test_learning_and_other_policies_start_from_rest(tmp_path: Path) -> None:
    model = agent()
    plain = agent(residual=False)
    plain.policy.load_state_dict(model.policy.state_dict())
    x = torch.randn(5, 4)
    assert torch.equal(model.policy.mlp_extractor.policy_net(x), plain.policy.mlp_extractor.policy_net(x))
    assert plain.policy.predict(x.numpy(), deterministic=True)[1] is None
    model.save(tmp_path / "agent.zip")
    assert PPO.load(tmp_path / "agent.zip").policy.spiking["residual"] is True


@pytest.mark.parametrize(("algorithm", "policy", "name"), [
    (DQN, SpikingDQNPolicy, "CartPole-v1"), (SAC, SpikingSACPolicy, "Pendulum-v1"),
])  # fmt: skip
def test_other_algorithms(algorithm: Any, policy: Any, name: str) -> None:
    env = make_control(name)
    model = algorithm(policy, env, policy_kwargs=dict(KWARGS), buffer_size=10, device="cpu")
    observation = env.reset()
    actions, state = model.predict(observation, deterministic=True)
    assert len(actions) == 1
    assert state[0].shape == (1, 1, 16)


@pytest.mark.parametrize("neuron", [{"kind": "lif", "reset": "hard"}, {"kind": "multi"}])
def test_neurons_without_a_residue(neuron: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="residual: not allowed with kind"):
        agent(neuron=neuron)
