from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_cases import ACTIONS, NEURON, OBSERVATIONS, Case, body_and_head, predict
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from torch import Tensor, nn

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig
from snn4.policies.metering.meter import Meter
from snn4.policies.sb3 import SpikingActorCriticPolicy, SpikingSACPolicy, SpikingTD3Policy

CASES = [
    *(Case(PPO, actions) for actions in ACTIONS),
    *(Case(A2C, actions) for actions in ACTIONS),
    Case(DQN, "Discrete"),
    Case(SAC, "Box"),
    Case(TD3, "Box"),
    Case(PPO, "Box", {"use_sde": True}),
    Case(SAC, "Box", {"use_sde": True}),
    Case(PPO, "Discrete", policy={"critic": "spiking", "coding": "population"}),
    Case(A2C, "Discrete", policy={"neuron": NEURON, "readout": "membrane", "T": 3}),
    Case(DQN, "Discrete", policy={"neuron": NEURON, "readout": "membrane", "T": 1}),
    Case(SAC, "Box", policy={"neuron": NEURON, "coding": CodingConfig("population", 5), "T": 7}),
    Case(TD3, "Box", policy={"neuron": NEURON, "coding": "population", "T": 3}),
]


@pytest.fixture(scope="module", params=CASES, ids=str)
def trained(request: pytest.FixtureRequest) -> BaseAlgorithm:
    case: Case = request.param
    model = case.model()
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(128)
    changed = {name for name, value in model.policy.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.endswith("layers.0.weight") for name in changed), "the first spiking layer must learn"
    return model


def actions_from_spikes(policy: Any, observations: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    body, head = body_and_head(policy)
    spikes = body.spikes(torch.as_tensor(observations))[-1]
    values: Tensor = head(torch.tensordot(body.decoder.weights, spikes, dims=1)).detach()
    space = policy.action_space
    if isinstance(policy, (SpikingSACPolicy, SpikingTD3Policy)):
        return space.low + (values.tanh().numpy() + 1) / 2 * (space.high - space.low)
    if isinstance(space, spaces.Box):
        return values.numpy().clip(space.low, space.high)
    if isinstance(space, spaces.MultiBinary):
        return (values > 0).numpy()
    if isinstance(space, spaces.MultiDiscrete):
        return np.stack([part.argmax(1) for part in values.split(space.nvec.tolist(), 1)], 1)
    return values.argmax(1).numpy()


def test_action_follows_from_the_spikes(trained: BaseAlgorithm) -> None:
    np.testing.assert_allclose(
        predict(trained), actions_from_spikes(trained.policy, OBSERVATIONS), rtol=1e-4, atol=1e-5
    )


def test_silenced_head_takes_the_same_action_everywhere(trained: BaseAlgorithm, tmp_path: Path) -> None:
    trained.policy.save(tmp_path / "policy")
    policy = type(trained.policy).load(tmp_path / "policy")
    weight, bias = body_and_head(policy)[1].parameters()
    torch.manual_seed(0)
    nn.init.normal_(weight)
    nn.init.zeros_(bias)
    assert len(np.unique(predict(policy), axis=0)) > 1
    nn.init.zeros_(weight)
    assert len(np.unique(predict(policy), axis=0)) == 1


def test_acting_network_spikes(trained: BaseAlgorithm) -> None:
    with Meter(trained.policy) as meter:
        predict(trained)
    assert len(meter.spike_rates) >= 2
    assert all(0 < rate < 1 for rate in meter.spike_rates)


def test_save_and_load(trained: BaseAlgorithm, tmp_path: Path) -> None:
    expected = predict(trained)
    trained.save(tmp_path / "model")
    model = type(trained).load(tmp_path / "model")
    np.testing.assert_array_equal(predict(model), expected)
    trained.policy.save(tmp_path / "policy")
    policy = type(trained.policy).load(tmp_path / "policy")
    np.testing.assert_array_equal(predict(policy), expected)
    assert policy.spiking == trained.policy.spiking
    assert str(policy) == str(trained.policy), "layers of both critics and actors"


def test_loaded_model_goes_on_learning(trained: BaseAlgorithm, tmp_path: Path) -> None:
    trained.save(tmp_path / "model")
    assert trained.env is not None
    model = type(trained).load(tmp_path / "model", trained.env)
    model.learn(32, reset_num_timesteps=False)
    assert model.num_timesteps == trained.num_timesteps + 32


def test_predict(trained: BaseAlgorithm) -> None:
    np.testing.assert_array_equal(predict(trained), predict(trained))
    single, _ = trained.predict(OBSERVATIONS[5], deterministic=True)
    np.testing.assert_allclose(single, predict(trained)[5], rtol=1e-4, atol=1e-5)
    for _ in range(5):
        explored, _ = trained.predict(OBSERVATIONS[:2], deterministic=False)
        assert all(trained.action_space.contains(action) for action in explored)


def test_evaluate_policy(trained: BaseAlgorithm) -> None:
    assert trained.env is not None
    trained.env.seed(3)
    mean, std = evaluate_policy(trained, trained.env, 4)
    trained.env.seed(3)
    assert evaluate_policy(trained.policy, trained.env, 4) == (mean, std)
    assert np.isfinite([mean, std]).all()


def test_works_without_any_configuration() -> None:
    model = PPO(SpikingActorCriticPolicy, "CartPole-v1").learn(100)
    assert isinstance(model.policy.mlp_extractor.policy_net, SpikingMLP)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_policy_that_has_learned_can_be_copied(env: str) -> None:
    model = PPO(SpikingActorCriticPolicy, env, n_steps=32, batch_size=32, n_epochs=1, device="cpu").learn(32)
    observation = np.zeros((3, *model.observation_space.shape), np.float32)
    copied = copy.deepcopy(model.policy)
    for deterministic in (True, False):
        actions = []
        for policy in (model.policy, copied):
            torch.manual_seed(0)
            actions.append(policy.predict(observation, deterministic=deterministic)[0])
        assert np.array_equal(*actions)
    assert copied.action_net.weight is not model.policy.action_net.weight
    model.policy.get_distribution(torch.zeros(1, *model.observation_space.shape)).mode()  # the model keeps its own
