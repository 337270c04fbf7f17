from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from snn4.agent.evaluation import episodes as evaluation
from snn4.agent.evaluation.episodes import (
    SUMMARY_KEYS,
    TEST_SEED,
    VALIDATION_SEED,
    EvaluationConfig,
    Evaluator,
    Interrupted,
    Underway,
    evaluate,
    summary_row,
)
from snn4.envs.control import make_control
from snn4.envs.world import TaskConfig
from snn4.learners.algorithms import LearnerConfig
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.coding import CodingConfig
from snn4.policies.metering.meter import Meter
from snn4.policies.sb3 import PolicyConfig

PPO = {"n_steps": 64, "batch_size": 64, "n_epochs": 4, "learning_rate": 3e-3}


@pytest.fixture(scope="module", params=[False, True], ids=["raw", "normalised"])
def learner(request: pytest.FixtureRequest) -> Iterator[ReinforcementLearner]:
    """A policy that balances the pole for a while, not equally long in every episode."""
    config = LearnerConfig("PPO", 4, normalize=request.param, hyperparameters=PPO)
    learner = ReinforcementLearner(
        config, PolicyConfig(net_arch=(16, 16), T=2), make_control("CartPole-v1", 4), 2048, 0
    )
    learner.begin(0)
    list(learner.learn(2048))
    return learner


def score(learner: ReinforcementLearner, episodes: int, seed: int, env: Any = None) -> dict[str, Any]:
    env = env or make_control("CartPole-v1", 3)
    return evaluate(learner.model.policy, env, episodes, seed, learner.normalization())


def test_the_same_seed_gives_the_same_score(learner: ReinforcementLearner) -> None:
    env = make_control("CartPole-v1", 3)
    first = score(learner, 10, 7, env)
    other = score(learner, 10, 8, env)
    assert score(learner, 10, 7, env) == first  # whatever was played in between
    assert score(learner, 10, 7) == first  # and in other copies of the environment
    assert other["return_mean"] != first["return_mean"]


def test_codes_that_draw_their_spikes_are_seeded_too() -> None:
    policy = PolicyConfig(net_arch=(8,), T=4, coding=CodingConfig("rate"))
    learner = ReinforcementLearner(LearnerConfig("PPO", 4), policy, make_control("CartPole-v1", 4), 1000, 0)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = score(learner, 5, 7)
    assert torch.equal(torch.get_rng_state(), state)  # learning goes on with its own
    torch.manual_seed(2)
    assert score(learner, 5, 7) == first


def sb3_evaluation(learner: ReinforcementLearner, episodes: int) -> tuple[Any, Any]:
    """Returns and lengths of so many episodes."""
    env: Any = make_control("CartPole-v1", 3)
    if (trained := learner.model.get_vec_normalize_env()) is not None:
        env = VecNormalize(env, training=False, norm_reward=False)
        env.obs_rms = trained.obs_rms
    env.seed(7)
    return evaluate_policy(learner.model, env, episodes, return_episode_rewards=True)


@pytest.mark.parametrize("episodes", [2, 3, 7, 10])
def test_it_is_sb3_s_evaluation_and_the_decisions_of_counted_episodes_are_metered(
    learner: ReinforcementLearner, monkeypatch: pytest.MonkeyPatch, episodes: int
) -> None:
    meters: list[Any] = []

    class Kept(Meter):
        def __enter__(self) -> Meter:
            meters.append(self)
            return super().__enter__()

    monkeypatch.setattr(evaluation, "Meter", Kept)
    row = score(learner, episodes, 7)
    returns, lengths = sb3_evaluation(learner, episodes)
    assert (row["return_mean"], row["return_std"]) == (np.mean(returns), np.std(returns))
    assert row["episodes"] == episodes == len(lengths)
    assert len(set(lengths)) > 1, "they must not all end together"
    assert meters[0]._decisions == sum(lengths)


@pytest.mark.parametrize("episodes", [2, 7])
def test_policies_that_remember_are_evaluated_copy_by_copy(episodes: int) -> None:
    config = PolicyConfig(state="carry", T=1, net_arch=(8, 8))
    learner = ReinforcementLearner(LearnerConfig("PPO", 4), config, make_control("CartPole-v1", 4), 1000, 0)
    row = score(learner, episodes, 7)
    returns, _ = sb3_evaluation(learner, episodes)
    assert (row["return_mean"], row["return_std"]) == (np.mean(returns), np.std(returns))


def test_evaluation_changes_no_statistics(learner: ReinforcementLearner) -> None:
    before = str(learner.normalization())
    score(learner, 5, 0)
    assert str(learner.normalization()) == before


def test_environments_are_made_once_and_at_most_a_hundred() -> None:
    evaluator, task = Evaluator(), TaskConfig("CartPole-v1", 1)
    env = evaluator.environment(task, 5)
    assert evaluator.environment(TaskConfig("CartPole-v1", 99), 5) is env
    assert env.num_envs == 5
    assert evaluator.environment(task, 250).num_envs == 100
    loud = evaluator.environment(TaskConfig("CartPole-v1", 1, {"sutton_barto_reward": True}), 5)
    assert loud is not env
    assert loud.get_attr("spec")[0].kwargs["sutton_barto_reward"] is True


def test_test_episodes_are_used_for_nothing_else(learner: ReinforcementLearner) -> None:
    starts = []
    for seed in (VALIDATION_SEED, TEST_SEED):
        env = make_control("CartPole-v1", 100)
        env.seed(seed)
        starts.append(np.asarray(env.reset()))
    assert not set(map(tuple, starts[0])) & set(map(tuple, starts[1]))


def test_a_summary_row_has_the_documented_keys(learner: ReinforcementLearner) -> None:
    row = summary_row(score(learner, 2, 0), 300, 1.5)
    assert list(row) == list(SUMMARY_KEYS) == [
        "return_mean", "return_std", "episodes", "env_steps", "wall_seconds", "env_steps_per_second",
        "spikes_per_decision", "effective_acs", "effective_macs", "neuron_macs", "neuron_acs", "energy_joules",
        "parameters", "bytes", "footprint_bytes", "connection_sparsity", "activation_sparsity", "dense_macs",
        "latency_steps", "energy_joules_measured",
    ]  # fmt: skip
    assert (row["env_steps"], row["wall_seconds"], row["env_steps_per_second"]) == (300, 1.5, 200.0)
    assert summary_row(score(learner, 2, 0), 0, 0.0)["env_steps_per_second"] == 0.0


@pytest.mark.parametrize("name", ["every", "episodes", "test_episodes"])
def test_impossible_numbers(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: got 0, allowed"):
        EvaluationConfig(**{name: 0})


# Episodes without an end


def walker() -> ReinforcementLearner:
    """In CliffWalking nobody falls for good: who does not find the goal walks for ever."""
    return ReinforcementLearner(
        LearnerConfig("PPO", 2), PolicyConfig(net_arch=(8,), T=2), make_control("CliffWalking-v1", 2), 100, 0
    )


@pytest.mark.parametrize(("limit", "steps"), [(None, evaluation.UNLIMITED_EPISODE), (30, 30)])
def test_episodes_without_an_end_are_cut(monkeypatch: pytest.MonkeyPatch, limit: int | None, steps: int) -> None:
    monkeypatch.setattr(evaluation, "UNLIMITED_EPISODE", 50)
    steps = min(steps, 50)
    evaluator, task = Evaluator(limit), TaskConfig("CliffWalking-v1", 1)
    env = evaluator.environment(task, 4)
    row = evaluation.evaluate(walker().policy, env, 4, 0)
    assert row["episodes_cut"] == 4
    assert row["return_mean"] <= -steps
    assert evaluator.chance(task, 4) <= -steps
    assert Evaluator(limit).environment(TaskConfig("CartPole-v1", 1), 2).cut_after == limit  # it has its own


def test_a_long_evaluation_shows_that_it_goes_on_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "SIGN_OF_LIFE", 10)
    asked = iter(range(100))
    env = Evaluator().environment(TaskConfig("CliffWalking-v1", 1), 2)
    play = evaluation.evaluation(walker().policy, env, 2, 0, stop=lambda: next(asked) == 25)
    assert [next(play), next(play)] == [Underway(10, 0, 2), Underway(20, 0, 2)]
    with pytest.raises(Interrupted):
        next(play)
