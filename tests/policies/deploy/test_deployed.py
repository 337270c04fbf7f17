"""Deployed policies against the ``predict(deterministic=True)`` of the policy that was saved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_cases import POLICIES, Tiny
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from snn4.policies.deploy import Deployed, load, save
from snn4.policies.neurons import NeuronConfig
from snn4.policies.recurrent import SpikingRecurrentPolicy

DISCRETE, BOX = spaces.Discrete(5), spaces.Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32))
LIVELY: dict[str, Any] = {"tau_mem": 5e-3, "v_threshold": 0.4}


def agent(algorithm: Any, actions: spaces.Space[Any] = DISCRETE, observations: Any = None, **policy: Any) -> Any:
    """An untrained agent whose actions depend on the observation."""
    more: dict[str, Any] = {"buffer_size": 10} if algorithm in (DQN, SAC, TD3) else {}
    neuron = NeuronConfig(**{**LIVELY, **policy.pop("neuron", {})})
    kwargs = {"net_arch": [24, 16], "neuron": neuron, **policy}
    model = algorithm(
        POLICIES.get(algorithm, SpikingRecurrentPolicy), Tiny(actions, observations), seed=0, device="cpu", **more,
        policy_kwargs=kwargs,
    )  # fmt: skip
    with torch.no_grad():
        for name, head in model.policy.named_modules():
            if name in ("action_net", "actor.mu", "q_net.q_net.1"):
                for parameter in head.parameters():
                    nn.init.normal_(parameter)
    return model


def deployed(model: Any, folder: Path, kernel: Any = None, normalization: Any = None) -> Deployed:
    save(model, folder / "policy.npz", normalization)
    return load(folder / "policy.npz", kernel)


def seen(n: int, shape: tuple[int, ...] = (3,)) -> Any:
    return np.random.default_rng(1).normal(size=(n, *shape)).astype(np.float32)


def assert_same(actions: Any, expected: Any) -> None:
    """Numbers of actions are equal; values are, but for the rounding of other processors."""
    assert (np.shape(actions), np.asarray(actions).dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(actions, expected, rtol=0, atol=0 if expected.dtype.kind == "i" else 1e-5)


@pytest.mark.parametrize("kernel", ["c", "numba"])
@pytest.mark.parametrize(
    ("algorithm", "actions"), [(PPO, DISCRETE), (A2C, BOX), (DQN, DISCRETE), (SAC, BOX), (TD3, BOX)]
)
def test_actions_are_those_of_predict(algorithm: Any, actions: Any, kernel: Any, tmp_path: Path) -> None:
    model = agent(algorithm, actions)
    policy = deployed(model, tmp_path, kernel)
    observations = seen(300)
    expected = np.stack([model.predict(x, deterministic=True)[0] for x in observations])
    assert len(np.unique(expected, axis=0)) > 2
    assert_same(np.stack([policy.act(x) for x in observations]), expected)
    for size in (1, 7, 16):
        assert_same(policy.act(observations[:size]), expected[:size])
    assert_same(policy.act(observations.astype(float)), expected)  # more than predict decides without torch


@pytest.mark.parametrize("kernel", ["c", "numba"])
@pytest.mark.parametrize("kind", ["cuba", "alif", "multi", "plif", "if"])
def test_neurons(kind: Any, kernel: Any, tmp_path: Path) -> None:
    for reset in ("soft", "hard"):
        strange = {"kind": kind, "reset": reset, "r": 2.0, "v_leak": 0.1, "v_reset": -0.2, "adaptation": 0.5}
        model = agent(PPO, BOX, neuron=strange, T=6, readout="membrane")
        policy = deployed(model, tmp_path, kernel)
        for x in seen(50):
            assert_same(policy.act(x), model.predict(x, deterministic=True)[0])


@pytest.mark.parametrize(
    "coding", [{"kind": kind, "deterministic": True} for kind in ("rate", "latency", "delta", "population", "phase")]
)
def test_codes(coding: Any, tmp_path: Path) -> None:
    model = agent(DQN, observations=spaces.Box(-1, 2, (2, 2)), coding=coding, T=5)
    policy = deployed(model, tmp_path)
    for x in seen(50, (2, 2)):
        assert_same(policy.act(x), model.predict(x, deterministic=True)[0])


def test_a_whole_episode_with_normalised_observations(tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), clip_obs=1.5)
    model = PPO(POLICIES[PPO], env, n_steps=64, seed=0, device="cpu", policy_kwargs={"neuron": "lif", "T": 8})
    model.learn(128)
    policy = deployed(model, tmp_path, normalization=env)
    world = gym.make("Pendulum-v1")
    observation, _ = world.reset(seed=0)
    actions, clipped = set(), False
    for _ in range(200):
        normalised = env.normalize_obs(observation[None])[0]
        clipped |= bool((np.abs(normalised) == 1.5).any())
        action = policy.act(observation)
        assert_same(action, model.predict(normalised, deterministic=True)[0])
        actions.add(float(action[0]))
        observation, *_ = world.step(action)
    assert clipped
    assert len(actions) > 5


def test_membranes_live_on_until_the_episode_ends(tmp_path: Path) -> None:
    memory = {"taus": (2e-3, 9e-3)}
    for actions in (DISCRETE, BOX):
        model = agent(RecurrentPPO, actions, memory=memory, neuron={"v_leak": 0.1, "kind": "alif"})
        policy = deployed(model, tmp_path)
        state: Any = None
        starts = np.random.default_rng(0).random((60, 4)) < 0.1
        starts[0] = True
        for start, x in zip(starts, seen(240).reshape(60, 4, 3), strict=True):
            expected, state = model.predict(x, state, start, deterministic=True)
            assert_same(policy.predict(x, episode_start=start)[0], expected)


def test_reset_returns_to_rest(tmp_path: Path) -> None:
    policy = deployed(agent(RecurrentPPO, BOX), tmp_path)
    first = [policy.act(x) for x in seen(9)]
    policy.reset()
    assert np.array_equal([policy.act(x) for x in seen(9)], first)
    assert not np.array_equal([policy.act(x) for x in seen(9)], first)
    with pytest.raises(ValueError, match=r"got 2 of them, allowed are 1, as before; call reset"):
        policy.act(seen(2))


def test_stands_in_for_an_agent(tmp_path: Path) -> None:
    model = agent(PPO)
    policy: Any = deployed(model, tmp_path)
    scores = [evaluate_policy(who, DummyVecEnv([lambda: Tiny(DISCRETE)]), 1, warn=False) for who in (model, policy)]
    assert scores[0][1] == scores[1][1] == 0
    with pytest.raises(ValueError, match="deterministic: got False, allowed is True"):
        policy.predict(seen(1), deterministic=False)


def test_acts_without_torch(tmp_path: Path) -> None:
    model = agent(PPO)
    save(model.policy, tmp_path / "policy.npz")
    code = """
import sys, numpy
from snn4.policies.deploy import load
print(load(sys.argv[1]).act(numpy.ones(3)))
print(*{name.partition(".")[0] for name in sys.modules} & {"torch", "stable_baselines3", "gymnasium", "numba"})
"""
    command = [sys.executable, "-c", code, str(tmp_path / "policy.npz")]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert int(out[0]) == model.predict(np.ones(3), deterministic=True)[0]
    assert out[1] == ""
