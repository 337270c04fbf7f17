"""Policies of SB3 on tiny environments, and where their spiking layers lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sb3 import SpikingActorCriticPolicy, SpikingDQNPolicy, SpikingSACPolicy, SpikingTD3Policy

POLICIES: dict[type[BaseAlgorithm], type[BasePolicy]] = {
    PPO: SpikingActorCriticPolicy,
    A2C: SpikingActorCriticPolicy,
    DQN: SpikingDQNPolicy,
    SAC: SpikingSACPolicy,
    TD3: SpikingTD3Policy,
}
EXPLORERS = {"n_steps": 16}
REPLAYERS = {"learning_starts": 20, "buffer_size": 200}
DEFAULTS: dict[type[BaseAlgorithm], dict[str, Any]] = {
    PPO: EXPLORERS | {"batch_size": 16, "n_epochs": 2}, A2C: EXPLORERS, DQN: REPLAYERS, SAC: REPLAYERS, TD3: REPLAYERS,
}  # fmt: skip
ACTIONS = {
    "Discrete": spaces.Discrete(5),
    "MultiDiscrete": spaces.MultiDiscrete([4, 3]),
    "MultiBinary": spaces.MultiBinary(3),
    "Box": spaces.Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32)),
}


class Tiny(gym.Env[np.ndarray, Any]):
    """Any spaces, random observations, episodes of 20 steps."""

    def __init__(self, action_space: spaces.Space[Any], observation_space: spaces.Space[Any] | None = None) -> None:
        self.action_space = action_space
        self.observation_space = observation_space or spaces.Box(-1, 1, (3,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.steps += 1
        return self.observation_space.sample(), float(np.sum(action)), False, self.steps == 20, {}


@dataclass(frozen=True)
class Case:
    algorithm: type[BaseAlgorithm]
    actions: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.algorithm.__name__, self.actions, *self.kwargs, *self.policy])

    def model(self, n_envs: int = 2) -> BaseAlgorithm:
        env = DummyVecEnv([lambda: Monitor(Tiny(ACTIONS[self.actions]))] * n_envs)
        arguments: dict[str, Any] = {**DEFAULTS[self.algorithm], **self.kwargs}
        policy = {"net_arch": [24, 16], **self.policy}
        return self.algorithm(POLICIES[self.algorithm], env, policy_kwargs=policy, seed=0, device="cpu", **arguments)


NEURON = NeuronConfig(tau_mem=5e-3, v_threshold=0.5, reset="hard")
OBSERVATIONS = np.random.default_rng(0).uniform(-1, 1, (64, 3)).astype(np.float32)


def body_and_head(policy: Any) -> tuple[SpikingMLP, nn.Module]:
    match policy:
        case SpikingActorCriticPolicy():
            return policy.mlp_extractor.policy_net, policy.action_net
        case SpikingDQNPolicy():
            return policy.q_net.q_net[0], policy.q_net.q_net[1]
        case SpikingSACPolicy():
            return policy.actor.latent_pi, policy.actor.mu
        case _:
            return policy.actor.mu[0], policy.actor.mu[1]


def predict(model: BaseAlgorithm | BasePolicy) -> np.ndarray[Any, Any]:
    return model.predict(OBSERVATIONS, deterministic=True)[0]


def widths(network: nn.Module) -> list[int]:
    return [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]
