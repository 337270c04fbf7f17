"""Teachers that stable-baselines3 saved, with policies set by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from saved_agents import ON, SMALL
from stable_baselines3 import DQN, PPO, SAC, TD3


def linear() -> dict[str, Any]:
    """Arguments for a policy without hidden layers; SB3 changes them."""
    return {"policy_kwargs": {"net_arch": []}}


def balancer(folder: Path, algorithm: str = "PPO", name: str = "teacher.zip") -> Path:
    """An agent of CartPole that pushes against the fall of the pole: PPO with logits, or DQN with Q-values."""
    weights = torch.tensor([[-0.1, -0.5, -8.0, -3.0], [0.1, 0.5, 8.0, 3.0]])
    model: Any
    if algorithm == "PPO":
        model = PPO("MlpPolicy", "CartPole-v1", **linear(), **ON)
        head = model.policy.action_net
    else:
        model = DQN("MlpPolicy", "CartPole-v1", **linear(), **SMALL)
        (head,) = model.q_net.q_net
    head.weight.data, head.bias.data = weights, torch.zeros(2)
    model.save(folder / name)
    return folder / name


def swinger(folder: Path, algorithm: str = "TD3", name: str = "teacher.zip") -> Path:
    """An agent of Pendulum that swings with its movement: actions of -2 to 2."""
    kind = {"PPO": PPO, "SAC": SAC, "TD3": TD3}[algorithm]
    model: Any = kind("MlpPolicy", "Pendulum-v1", **linear(), **(ON if algorithm == "PPO" else SMALL))
    head = {"PPO": lambda: model.policy.action_net, "SAC": lambda: model.actor.mu, "TD3": lambda: model.actor.mu[0]}
    layer = head[algorithm]()
    layer.weight.data, layer.bias.data = torch.tensor([[0.3, -1.0, 0.5]]), torch.zeros(1)
    model.save(folder / name)
    return folder / name
