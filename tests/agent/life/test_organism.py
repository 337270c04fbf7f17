from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from snn4.agent.life.organism import Organism
from snn4.agent.run import checkpoint
from snn4.envs.control import make_control
from snn4.learners.algorithms import LearnerConfig, make_policy
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.sb3 import PolicyConfig, trunk_names

SPIKING = PolicyConfig(net_arch=(8, 9, 10), T=2)
LEARNERS = {
    "PPO": LearnerConfig("PPO", hyperparameters={"n_steps": 32, "batch_size": 32, "n_epochs": 2}),
    "A2C": LearnerConfig("A2C"),
    "DQN": LearnerConfig("DQN", hyperparameters={"learning_starts": 8, "buffer_size": 64, "batch_size": 8}),
    "SAC": LearnerConfig("SAC", hyperparameters={"learning_starts": 8, "buffer_size": 64, "batch_size": 8}),
    "TD3": LearnerConfig("TD3", hyperparameters={"learning_starts": 8, "buffer_size": 64, "batch_size": 8}),
}
ENVIRONMENTS = {name: "Pendulum-v1" if name in ("SAC", "TD3") else "CartPole-v1" for name in LEARNERS}


def learned(environment: str, learner: LearnerConfig, policy: PolicyConfig = SPIKING, seed: int = 0) -> Any:
    """A learner with 64 steps of experience."""
    experienced = ReinforcementLearner(learner, policy, make_control(environment), 64, seed)
    experienced.begin(seed)
    list(experienced.learn(64))
    return experienced


def fresh(environment: str, learner: LearnerConfig, policy: PolicyConfig = SPIKING) -> BasePolicy:
    return make_policy(learner, policy, make_control(environment))


def observations(policy: BasePolicy) -> NDArray[Any]:
    generator = np.random.default_rng(1)
    return generator.normal(size=(64, *(policy.observation_space.shape or ()))).astype(np.float32)


def actions(policy: BasePolicy) -> NDArray[Any]:
    """What a policy makes of the same 64 observations: values before the choice, where it chooses."""
    with torch.no_grad():
        seen, _ = policy.obs_to_tensor(observations(policy))
        if hasattr(policy, "q_net"):
            return np.asarray(policy.q_net(seen))
        if hasattr(policy, "get_distribution"):
            chosen = policy.get_distribution(seen).distribution
            return np.asarray(chosen.logits if hasattr(chosen, "logits") else chosen.mean)
        return policy.predict(observations(policy), deterministic=True)[0]


def weights(policy: BasePolicy) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in policy.state_dict().items()}


DENSE = [(algorithm, kind, 0.0) for algorithm in LEARNERS for kind in ("spiking", "ann")]


@pytest.mark.parametrize(("algorithm", "kind", "sparsity"), [*DENSE, ("PPO", "spiking", 0.5), ("TD3", "spiking", 0.5)])
def test_a_policy_made_for_it_acts_as_the_learner_did(algorithm: str, kind: Any, sparsity: float) -> None:
    policy = PolicyConfig(kind, (8, 9, 10), T=2, sparsity=sparsity)
    config, environment = LEARNERS[algorithm], ENVIRONMENTS[algorithm]
    organism, learner = Organism(policy), learned(environment, config, policy)
    organism.remember(environment, learner)
    other = fresh(environment, config, policy)
    assert not np.array_equal(actions(other), actions(learner.model.policy))
    organism.prepare(environment, other)
    assert np.array_equal(actions(other), actions(learner.model.policy))
    for name, value in learner.model.policy.state_dict().items():  # critics and target networks too
        assert torch.equal(value, other.state_dict()[name]), name


def test_memory_is_a_copy(tmp_path: Path) -> None:
    organism, learner = Organism(SPIKING), learned("CartPole-v1", LEARNERS["PPO"])
    organism.remember("CartPole-v1", learner)
    before = actions(organism.prepare("CartPole-v1", fresh("CartPole-v1", LEARNERS["PPO"])))
    learner.begin(1)
    list(learner.learn(128))
    assert not np.array_equal(actions(learner.model.policy), before)
    assert np.array_equal(actions(organism.prepare("CartPole-v1", fresh("CartPole-v1", LEARNERS["PPO"]))), before)


@pytest.mark.parametrize("algorithm", ["PPO", "DQN", "TD3"])
def test_tasks_share_the_trunk_alone(algorithm: str) -> None:
    config, organism = LEARNERS[algorithm], Organism(SPIKING)
    first, second = ENVIRONMENTS[algorithm], {"TD3": "MountainCarContinuous-v0"}.get(algorithm, "Acrobot-v1")
    cart = learned(first, config)
    organism.remember(first, cart)
    knew = weights(cart.model.policy)

    newcomer = fresh(second, config)
    born = weights(newcomer)
    organism.prepare(second, newcomer)
    trunk = set(trunk_names(newcomer).values())
    assert trunk
    for name, value in newcomer.state_dict().items():
        if "target" not in name:  # targets follow the network
            assert torch.equal(value, knew[name] if name in trunk else born[name]), name
    if algorithm != "PPO":
        online = {"DQN": "q_net", "TD3": "actor"}[algorithm]
        networks = [newcomer.get_submodule(name) for name in (online, f"{online}_target")]
        assert all(torch.equal(a, b) for a, b in zip(*(x.parameters() for x in networks), strict=True))

    acrobot = learned(second, config, seed=1)
    organism.remember(second, acrobot)
    back = organism.prepare(first, fresh(first, config))
    for name, value in back.state_dict().items():
        assert torch.equal(value, acrobot.model.policy.state_dict()[name] if name in trunk else knew[name]), name


def test_the_trunk_is_every_synapse_between_hidden_layers() -> None:
    policy = fresh("CartPole-v1", LEARNERS["PPO"])
    names = trunk_names(policy)
    shapes = {shared: tuple(policy.state_dict()[name].shape) for shared, name in names.items()}
    for role in ("actor", "critic"):
        assert shapes[f"{role}.0.weight"] == (9, 8)
        assert shapes[f"{role}.1.weight"] == (10, 9)
    assert len(shapes) == 8  # and their biases


def test_snapshot_and_restore() -> None:
    config = LEARNERS["PPO"]
    organism, learner = Organism(SPIKING), learned("CartPole-v1", config)
    organism.remember("CartPole-v1", learner)
    organism.spend("CartPole-v1", 64, 1.0)
    then, snapshot = weights(learner.model.policy), organism.snapshot("CartPole-v1")
    learner.begin(1)
    list(learner.learn(128))
    organism.remember("CartPole-v1", learner)
    organism.spend("CartPole-v1", 64, 1.0)
    now = weights(organism.prepare("CartPole-v1", fresh("CartPole-v1", config)))
    organism.restore("CartPole-v1", snapshot)
    again = weights(organism.prepare("CartPole-v1", fresh("CartPole-v1", config)))
    assert all(torch.equal(again[name], value) for name, value in then.items())
    assert not any(torch.equal(again[name], value) for name, value in now.items())
    task = organism.tasks["CartPole-v1"]
    assert (organism.age, task.env_steps, task.seconds) == (128, 128, 2.0)


def test_time_is_spent_in_each_environment() -> None:
    organism = Organism(SPIKING)
    for environment, steps in (("CartPole-v1", 5), ("Acrobot-v1", 7), ("CartPole-v1", 11)):
        organism.spend(environment, steps, steps / 2)
    assert organism.age == 23
    assert {name: (m.env_steps, m.seconds) for name, m in organism.tasks.items()} == {
        "CartPole-v1": (16, 8.0),
        "Acrobot-v1": (7, 3.5),
    }


def test_the_whole_state_survives_a_checkpoint(tmp_path: Path) -> None:
    config = LearnerConfig("PPO", normalize=True, hyperparameters=LEARNERS["PPO"].hyperparameters)
    organism = Organism(SPIKING, lineage=["eve"])
    for environment in ("CartPole-v1", "Acrobot-v1"):
        organism.remember(environment, learned(environment, config))
        organism.spend(environment, 64, 0.5)
    checkpoint.save(tmp_path, {"model": organism.state(), "learner": {}}, {}, "")
    saved = checkpoint.load(tmp_path)
    assert saved is not None
    again = Organism(SPIKING)
    again.load_state(saved.state["model"])
    assert (again.age, again.lineage) == (128, ["eve"])
    for environment in ("CartPole-v1", "Acrobot-v1"):
        policies = [o.prepare(environment, fresh(environment, config)) for o in (organism, again)]
        assert np.array_equal(*map(actions, policies))
        memory, copy = organism.tasks[environment], again.tasks[environment]
        assert (copy.env_steps, copy.seconds) == (64, 0.5)
        assert memory.normalization is not None
        assert copy.normalization is not None
        for name in ("observation", "return"):
            for key, value in memory.normalization[name].items():
                assert np.array_equal(value, copy.normalization[name][key])
