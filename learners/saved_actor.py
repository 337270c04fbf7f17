"""The acting network of a saved agent of stable-baselines3, as plain layers of torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import preprocess_obs
from torch import Tensor, nn

from snn4.learners.saved_agent import ACTIVATIONS, SavedAgent, acting_head, below, features_place, linears
from snn4.learners.sb3_zip import BadAgent


class Preprocessing(nn.Module):
    """SB3's treatment of observations: images of 0 to 255 become 0 to 1 (``normalize_images``), numbers of a Discrete
    space one-hot codes, and all others float32."""

    def __init__(self, space: spaces.Space[Any], normalize_images: bool) -> None:
        super().__init__()
        self.space = space
        self.normalize_images = normalize_images

    def forward(self, observations: Tensor) -> Tensor:
        return preprocess_obs(observations, self.space, self.normalize_images)  # type: ignore[return-value]


def make_actor(agent: SavedAgent) -> nn.Sequential:
    """The acting network: observations (B, …) -> outputs (B, n), with the agent's weights.

    The outputs are logits (PPO, A2C with Discrete actions), mean actions (PPO, A2C with Box actions), values of actions
    (DQN), or actions from -1 to 1, which SB3 stretches to the bounds of the space (SAC, TD3). An agent with float32
    vectors for observations has nothing but linear layers and activations.

    Raises:
        BadAgent: the tensors do not fit each other, or the observations.
    """
    layers = [*_preprocessing(agent), *_features(agent), *_body(agent), *_behind_head(agent)]
    actor = nn.Sequential(*layers).eval().requires_grad_(False)
    space = agent.observation_space
    try:
        actor(torch.from_numpy(np.zeros((1, *(space.shape or ())), space.dtype)))
    except RuntimeError as error:
        problem = " ".join(str(error).split())
        message = f"policy.pth: the tensors do not fit each other and observations {space} ({problem})"
        raise BadAgent(f"{agent.source}: {' '.join(message.split())}") from None
    return actor


def _preprocessing(agent: SavedAgent) -> Iterator[nn.Module]:
    space = agent.observation_space
    if space.dtype != np.float32:
        yield Preprocessing(space, agent.normalize_images)


def _features(agent: SavedAgent) -> Iterator[nn.Module]:
    if agent.features == "flatten":
        if isinstance(agent.observation_space, spaces.Box) and len(agent.observation_space.shape) != 1:
            yield nn.Flatten()
        return
    tensors = dict(below(agent.weights, features_place(agent.weights)))
    for number, stride in ((0, 4), (2, 2), (4, 1)):
        weight = tensors[f"cnn.{number}.weight"]
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], stride)  # type: ignore[arg-type]
        yield _loaded(conv, weight, tensors[f"cnn.{number}.bias"])
        yield nn.ReLU()
    yield nn.Flatten()
    yield _linear(tensors["linear.0.weight"], tensors["linear.0.bias"])
    yield nn.ReLU()


def _body(agent: SavedAgent) -> Iterator[nn.Module]:
    """Hidden layers and head."""
    place = {"PPO": "mlp_extractor.policy_net", "A2C": "mlp_extractor.policy_net", "SAC": "actor.latent_pi"}
    head = acting_head(agent)
    hidden = place.get(agent.algorithm, head.rpartition(".")[0])
    for name in [*(layer for layer in linears(agent.weights, hidden) if layer != head), head]:
        try:
            yield _linear(agent.weights[f"{name}.weight"], agent.weights[f"{name}.bias"])
        except KeyError as error:
            raise BadAgent(f"{agent.source}: policy.pth: {error.args[0]} is missing") from None
        if name != head:
            yield ACTIVATIONS[agent.activation]()


def _behind_head(agent: SavedAgent) -> Iterator[nn.Module]:
    if agent.algorithm == "SAC" and agent.use_sde and agent.clip_mean > 0:
        yield nn.Hardtanh(-agent.clip_mean, agent.clip_mean)
    if agent.algorithm in ("SAC", "TD3"):
        yield nn.Tanh()


def _linear(weight: Tensor, bias: Tensor) -> nn.Module:
    return _loaded(nn.Linear(weight.shape[1], weight.shape[0]), weight, bias)


def _loaded(layer: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
