"""Learning by sb3-contrib's RecurrentPPO with membranes that last from decision to decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_folders import through_disk
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from torch import nn

from snn4.envs.control import make_control
from snn4.learners.algorithms import ALGORITHMS, CARRYING, LearnerConfig, algorithm_for, make_model, make_policy
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.acting.memory import MemoryConfig
from snn4.policies.neurons import NeuronConfig
from snn4.policies.recurrent import SpikingRecurrentPolicy
from snn4.policies.sb3 import PolicyConfig, trunk_names

NEURON = NeuronConfig(tau_mem=3e-3, v_threshold=0.4)
MEMORY = MemoryConfig((1e-3, 4e-3), gain=2.0)
CARRY = PolicyConfig(net_arch=(16, 12), T=1, state="carry", neuron=NEURON, memory=MEMORY)
LEARNER = LearnerConfig(n_envs=2, hyperparameters={"n_steps": 20, "batch_size": 20, "n_epochs": 2})


def make(policy: PolicyConfig = CARRY, seed: int = 0, environment: str = "CartPoleNoVel-v1") -> ReinforcementLearner:
    env = make_control(environment, 2)
    return ReinforcementLearner(LEARNER, policy, env, 240, seed)


def test_the_algorithm_that_can_carry() -> None:
    assert algorithm_for(LEARNER, CARRY).sb3 is RecurrentPPO
    assert algorithm_for(LEARNER, CARRY).spiking_policy is SpikingRecurrentPolicy
    assert algorithm_for(LEARNER, PolicyConfig()).sb3 is PPO
    for name in set(ALGORITHMS) - set(CARRYING):
        assert algorithm_for(LearnerConfig(name), PolicyConfig()) is ALGORITHMS[name]  # type: ignore[arg-type]
        with pytest.raises(
            ValueError, match=f"^state: carry is not allowed with algorithm: {name}; set algorithm: PPO"
        ):
            algorithm_for(LearnerConfig(name), CARRY)  # type: ignore[arg-type]


def test_what_is_described_is_built() -> None:
    env = make_control("CartPoleNoVel-v1", 2)
    model: Any = make_model(LEARNER, CARRY, env, 0, "cpu")
    assert [linear.out_features for linear in model.policy.lstm_actor.layers[:-1:2]] == [16, 12]
    assert len(model.policy.lstm_actor.dendrites) == 2
    assert model.policy.spiking == {
        "neuron": NEURON, "memory": MEMORY, "critic": "ann", "backend": "torch", "spike_cost": 0.0, "sparsity": 0.0,
    }  # fmt: skip
    policy = make_policy(LEARNER, CARRY, env)
    assert str(policy) == str(model.policy)
    policy.load_state_dict(model.policy.state_dict())
    assert trunk_names(policy).keys() == {
        f"{role}.0.{part}" for role in ("actor", "critic") for part in ("weight", "bias")
    }


def test_the_twin_has_an_lstm_as_wide() -> None:
    twin: Any = make(PolicyConfig(kind="ann", net_arch=(16, 12), T=1, state="carry")).model.policy
    assert isinstance(twin.lstm_actor, nn.LSTM)
    assert twin.lstm_actor.hidden_size == 12


@pytest.mark.parametrize("kind", ["spiking", "ann"])
def test_a_resumed_life_is_the_uninterrupted_life(kind: Any, tmp_path: Path) -> None:
    policy = PolicyConfig(kind, net_arch=(16, 12), T=1, state="carry", neuron=NEURON)
    whole = make(policy)
    whole.begin(1)
    list(whole.learn(80))
    state = through_disk(whole.state(), tmp_path)
    whole.begin(2)
    list(whole.learn(200))
    resumed = make(policy, seed=99)
    resumed.load_state(state)
    resumed.begin(2)
    list(resumed.learn(200))
    assert resumed.step == whole.step == 200
    for name, value in whole.model.policy.state_dict().items():
        assert torch.equal(value, resumed.model.policy.state_dict()[name]), name


def test_reports_its_spikes() -> None:
    learner = make()
    learner.begin(0)
    for progress in learner.learn(80):
        assert len(progress.spike_rates) == 2
        assert all(0 < rate < 1 for rate in progress.spike_rates)


@pytest.mark.slow
def test_learns_to_balance_a_pole_whose_velocity_is_hidden() -> None:
    """Without a memory, returns hardly exceed 50."""
    config = LearnerConfig(
        n_envs=8, normalize=True,
        hyperparameters={"n_steps": 128, "batch_size": 256, "n_epochs": 10, "gae_lambda": 0.8, "gamma": 0.98,
                         "ent_coef": 0.0, "learning_rate": 1e-3},
    )  # fmt: skip
    policy = PolicyConfig(
        net_arch=(64, 64),
        T=1,
        state="carry",
        neuron=NeuronConfig(tau_mem=5e-4),
        memory=MemoryConfig((2e-3,), 6.0, 1e-3),
    )
    learner = ReinforcementLearner(config, policy, make_control("CartPoleNoVel-v1", 8), 16_384, seed=0)
    learner.begin(0)
    list(learner.learn(16_384))
    env: Any = learner.model.get_vec_normalize_env()
    env.training, env.norm_reward = False, False
    mean, _ = evaluate_policy(learner.model, env, 16)
    assert np.isfinite(mean)
    assert mean > 60
