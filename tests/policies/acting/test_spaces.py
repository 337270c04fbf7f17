from __future__ import annotations

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.torch_layers import CombinedExtractor

from snn4.policies.recurrent import LstmPolicy, SpikingRecurrentPolicy
from snn4.policies.sb3 import SpikingActorCriticPolicy, SpikingDQNPolicy, SpikingSACPolicy, SpikingTD3Policy

BOX, TWO = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)
ON_POLICY, OFF_POLICY = {"n_steps": 16}, {"learning_starts": 8, "buffer_size": 99}
POLICIES: dict[Any, tuple[type, dict[str, int]]] = {
    PPO: (SpikingActorCriticPolicy, ON_POLICY | {"batch_size": 16}),
    A2C: (SpikingActorCriticPolicy, ON_POLICY),
    DQN: (SpikingDQNPolicy, OFF_POLICY),
    SAC: (SpikingSACPolicy, OFF_POLICY),
    TD3: (SpikingTD3Policy, OFF_POLICY),
    RecurrentPPO: (SpikingRecurrentPolicy, ON_POLICY | {"batch_size": 16}),
}


@pytest.mark.parametrize("algorithm", POLICIES)
def test_dict_observations_need_no_extractor(algorithm: Any) -> None:
    policy, arguments = POLICIES[algorithm]
    learned: list[dict[str, torch.Tensor]] = []
    for more in ({}, {"features_extractor_class": CombinedExtractor}):
        env = BitFlippingEnv(4, continuous=algorithm in (SAC, TD3))
        kwargs = {"net_arch": [8, 8], **more}
        model = algorithm(policy, env, policy_kwargs=kwargs, seed=0, device="cpu", **arguments)
        before = {name: value.clone() for name, value in model.policy.state_dict().items()}
        learned.append(model.learn(32).policy.state_dict())
        assert any(not torch.equal(value, before[name]) for name, value in learned[-1].items())
    for name, value in learned[0].items():
        torch.testing.assert_close(value, learned[1][name])


START = "start=0"
REFUSED: list[tuple[spaces.Space[Any], spaces.Space[Any], str, str, str]] = [
    (spaces.Discrete(4, start=2), TWO, "observation_space", "Discrete(4, start=2)", START),
    (spaces.MultiDiscrete([2, 3], start=[0, 1]), TWO, "observation_space", "MultiDiscrete([2 3], start=[0 1])", START),
    (spaces.MultiDiscrete([[2], [3]]), TWO, "observation_space", "MultiDiscrete([[2] [3]])", "one axis"),
    (spaces.Box(-1, 1, ()), TWO, "observation_space", "Box(-1.0, 1.0, (), float32)", "one axis or more"),
    (spaces.Dict(a=BOX, b=spaces.Discrete(3, start=1)), TWO, "observation_space", "Discrete(3, start=1)", START),
    (BOX, spaces.Discrete(3, start=-1), "action_space", "Discrete(3, start=-1)", START),
    (BOX, spaces.MultiDiscrete([2, 3], start=[1, 0]), "action_space", "MultiDiscrete([2 3], start=[1 0])", START),
]  # fmt: skip


@pytest.mark.parametrize("policy", [SpikingActorCriticPolicy, SpikingRecurrentPolicy])
@pytest.mark.parametrize(("observations", "actions", "name", "value", "allowed"), REFUSED)
def test_spaces_that_sb3_takes_for_others_are_refused(
    policy: Any, observations: spaces.Space[Any], actions: spaces.Space[Any], name: str, value: str, allowed: str
) -> None:
    how = "wrap the environment with snn4.envs.spaces.plain_spaces"
    with pytest.raises(ValueError, match=f"^{re.escape(f'{name}: got {value}, allowed is {allowed}; {how}')}$"):
        policy(observations, actions, lambda _: 1e-3)


class Numbers(gym.Env[Any, Any]):
    """Observations of two numbers, actions of three switches, episodes of 10 steps."""

    observation_space, action_space = spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self.observation_space.sample(), float(np.sum(action)), self.steps == 10, False, {}


@pytest.mark.parametrize("policy", [SpikingRecurrentPolicy, LstmPolicy])
def test_recurrent_policies_see_numbers_and_set_switches(policy: Any) -> None:
    model = RecurrentPPO(policy, Numbers(), n_steps=16, batch_size=16, seed=0, device="cpu")
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    after = model.learn(32).policy.state_dict()
    assert not torch.equal(after["action_net.weight"], before["action_net.weight"])
    data = next(model.rollout_buffer.get(16))
    sequences = (data.lstm_states, data.episode_starts)
    distribution, _ = model.policy.get_distribution(data.observations, data.lstm_states.pi, data.episode_starts)
    on, chance = data.actions.bool(), distribution.distribution.probs
    _, log_prob, _ = model.policy.evaluate_actions(data.observations, data.actions, *sequences)
    torch.testing.assert_close(log_prob, torch.where(on, chance, 1 - chance).log().sum(1))
