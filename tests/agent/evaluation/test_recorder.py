"""Recorded spikes are those of the layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO

from snn4.agent.evaluation.decisions import decisions
from snn4.agent.evaluation.episodes import Evaluator
from snn4.agent.evaluation.recorder import Recorder
from snn4.envs.world import TaskConfig
from snn4.policies.sb3 import SpikingActorCriticPolicy


def test_recorded_spikes_are_those_of_the_layers() -> None:
    torch.manual_seed(0)
    settings = {"net_arch": [24, 100], "T": 3, "neuron": {"v_threshold": 0.2}}
    model = PPO(SpikingActorCriticPolicy, "CartPole-v1", policy_kwargs=settings, seed=0)
    observations = np.random.default_rng(0).normal(0, 1, (5, 1, 4)).astype(np.float32)
    with Recorder(model.policy, columns=12) as recorder:
        for observation in observations:
            model.predict(observation, deterministic=True)
    body: Any = model.policy.mlp_extractor.policy_net
    with torch.no_grad():
        expected = [body.spikes(torch.from_numpy(observation)) for observation in observations[1:]]
    first, second = (torch.cat([trains[layer][:, 0] for trains in expected]).bool().T.numpy() for layer in (0, 1))
    assert first.any()
    np.testing.assert_array_equal(recorder.rasters[0], first)  # of 15 steps, the last 12
    assert recorder.rasters[1].shape == (64, 12)  # of 100 neurons
    assert recorder.rasters[1].sum() <= second.sum()
    assert [len(membranes) for membranes in recorder.membranes] == [24, 64]
    with torch.no_grad():
        _, state = body.layers[1](body.layers[0](torch.from_numpy(observations[-1]))[None], None, 3)
    np.testing.assert_allclose(recorder.membranes[0], state.v[0].numpy() / 0.2, rtol=1e-5, atol=1e-5)


def test_the_first_decisions_of_a_test_episode() -> None:
    settings = {"net_arch": [24, 100], "T": 3, "neuron": {"v_threshold": 0.2}}
    model = PPO(SpikingActorCriticPolicy, "CartPole-v1", policy_kwargs=settings, seed=0)
    env = Evaluator().environment(TaskConfig("CartPole-v1", 100), 1)
    env.seed(7)
    observation = env.reset()
    layers = decisions(model.policy, env, 7, 2)
    assert [(layer["name"], layer["n_neurons"]) for layer in layers] == [("layer 1", 24), ("layer 2", 100)]
    assert [len(layer["spikes"]) for layer in layers] == [6, 6]
    body: Any = model.policy.mlp_extractor.policy_net
    with torch.no_grad():
        expected = body.spikes(torch.from_numpy(observation))[0][:, 0].bool()
    assert layers[0]["spikes"][:3] == ["".join("01"[spike] for spike in row) for row in expected.tolist()]
    assert decisions(PPO("MlpPolicy", "CartPole-v1").policy, env, 7, 2) == []
