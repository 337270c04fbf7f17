"""Policies whose weights are NaN do not act, as SB3's do not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from snn4.policies.acting.features import NetworkFeatures
from snn4.policies.recurrent import SpikingRecurrentPolicy
from snn4.policies.sb3 import (
    SpikingActorCriticPolicy,
    SpikingDQNPolicy,
    SpikingSACPolicy,
    SpikingTD3Policy,
)

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "PPO": (SpikingActorCriticPolicy, {}),
    "PPO, Box": (SpikingActorCriticPolicy, {}),
    "PPO, all that is learned": (
        SpikingActorCriticPolicy, {"coding": "population", "readout": "weighted", "neuron": "plif"},
    ),
    "PPO, first spike": (SpikingActorCriticPolicy, {"readout": "first_spike"}),
    "DQN": (SpikingDQNPolicy, {}),
    "SAC": (SpikingSACPolicy, {}),
    "TD3": (SpikingTD3Policy, {}),
    "RecurrentPPO": (SpikingRecurrentPolicy, {}),
}  # fmt: skip


def make(name: str) -> Any:
    policy, arguments = CASES[name]
    actions: Any = spaces.Box(-1, 1, (2,)) if "SAC" in name or "TD3" in name or "Box" in name else spaces.Discrete(3)
    return policy(spaces.Box(-1, 1, (3,)), actions, lambda _: 0.0, net_arch=[6, 5], **arguments)


def acting(policy: Any) -> list[nn.Parameter]:
    """What decides of a deterministic action."""
    other = ("critic", "value_net", "log_std", "target")
    return [p for name, p in policy.named_parameters() if not any(part in name for part in other)]


@pytest.mark.parametrize("name", CASES)
def test_no_decision_is_taken_by_nan(name: str) -> None:
    policy, one, many = make(name), np.zeros(3, np.float32), np.zeros((20, 3), np.float32)
    parameters = acting(policy)
    assert len(parameters) >= 6
    for parameter in parameters:
        for value in (float("nan"), float("inf")) if parameter.shape == (5, 6) else (float("nan"),):
            kept = parameter.detach().clone()
            parameter.data.view(-1)[-1] = value  # as autograd does not see
            for x, deterministic in ((one, True), (one, True), (one, False), (many, True)):
                with pytest.raises(ValueError, match=r"NaN|nan"):
                    policy.predict(x, deterministic=deterministic)
            parameter.data.copy_(kept)
        policy.predict(one, deterministic=True)


def test_nor_by_an_encoder_s() -> None:
    arguments: Any = {"features_extractor_class": NetworkFeatures}
    arguments["features_extractor_kwargs"] = {"network": {"name": "vgg-small", "T": 1}}
    space = spaces.Box(0, 255, (1, 16, 16), np.uint8)
    policy = SpikingActorCriticPolicy(space, spaces.Discrete(2), lambda _: 0.0, **arguments)
    next(module for module in policy.modules() if isinstance(module, nn.Conv2d)).weight.data[0] = float("nan")
    with pytest.raises(ValueError, match=r"^weight of Conv2d\(.*: got NaN or infinity, allowed are finite numbers"):
        policy.predict(np.zeros((1, 16, 16), np.uint8), deterministic=True)


@pytest.mark.parametrize("name", ["PPO", "DQN", "SAC", "RecurrentPPO"])
def test_loading_says_so(name: str, tmp_path: Path) -> None:
    policy, file = make(name), str(tmp_path / "policy")
    policy.save(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        type(policy).load(file)
    with torch.no_grad():
        acting(policy)[0].fill_(float("nan"))
    policy.save(file)
    with pytest.warns(UserWarning, match=r"^[\w.]+weight: got NaN, allowed are finite numbers; learning has diverged"):
        loaded = type(policy).load(file)
    with pytest.raises(ValueError, match="got NaN"):
        loaded.predict(np.zeros(3, np.float32), deterministic=True)
