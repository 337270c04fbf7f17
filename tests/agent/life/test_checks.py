"""What only the libraries know: environments, hyperparameters, and which algorithm can act where."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from snn4.agent import kinds
from snn4.agent.config.document import parse
from snn4.agent.config.file import ConfigError
from snn4.agent.life.checks import too_many_tasks
from snn4.agent.life.config import LifeConfig
from snn4.agent.life.outline import outline
from snn4.envs.control import make_control
from snn4.learners.algorithms import ALGORITHMS, LearnerConfig
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.coding import CodingConfig
from snn4.policies.sb3 import PolicyConfig

Problems = Callable[..., list[str]]


@pytest.fixture
def problems(tiny_yaml: Path) -> Problems:
    """The problems of the tiny life with these overrides."""

    def ask(*overrides: str) -> list[str]:
        try:
            kinds.load(tiny_yaml, overrides)
        except ConfigError as error:
            return [problem.removeprefix(f"{tiny_yaml}: ") for problem in error.problems]
        return []

    return ask


ACTIONS = {"CartPole-v1": "Discrete", "Pendulum-v1": "Box"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("environment", ACTIONS)
def test_algorithms_act_where_sb3_lets_them(problems: Problems, environment: str, algorithm: str) -> None:
    import gymnasium as gym

    able = True
    try:
        ALGORITHMS[algorithm].sb3("MlpPolicy", gym.make(environment))  # type: ignore[arg-type, call-arg]
    except AssertionError:
        able = False
    for where in ("learner", "world.0.learner"):
        lines = problems(f"world.0.environment={environment}", f"{where}={{algorithm: {algorithm}}}")
        if able:
            assert lines == []
        else:
            (line,) = lines
            assert line.startswith(f"world.0.environment: {environment} has {ACTIONS[environment]} actions")
            assert algorithm in line.partition(";")[0]
            assert algorithm not in line.partition(";")[2]


def test_a_task_s_own_learner_counts(problems: Problems) -> None:
    both = (
        "world=[{environment: Pendulum-v1, steps: 1, learner: {algorithm: SAC}}, {environment: CartPole-v1, steps: 1}]"
    )
    assert problems(both, "learner={algorithm: DQN}") == []
    (line,) = problems(both, "learner={algorithm: SAC}")
    assert line.startswith("world.1.environment: CartPole-v1 has Discrete actions")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("CartPole-v7", "did you mean CartPole-v1"), ("cartpole", "did you mean CartPole-v"),
        ("Acrobt-v1", "did you mean Acrobot-v1"), ("no_such_module:X-v0", "No module named 'no_such_module'"),
        ("zzzzzzzz", "allowed is a registered"), ("''", "allowed is a registered"),
    ],
)  # fmt: skip
def test_unknown_environments(problems: Problems, environment: str, message: str) -> None:
    (line,) = problems(f"world.0.environment={environment}")
    assert line.startswith("world.0.environment: ")
    assert message in line


def test_arguments_that_an_environment_does_not_take(problems: Problems) -> None:
    (line,) = problems("world.0.kwargs={gravty: 3}")
    assert "world.0" in line
    assert "gravty" in line


@pytest.mark.usefixtures("strange_worlds")
def test_an_environment_of_one_s_own_module(problems: Problems) -> None:
    assert problems("world.0.environment='strange_worlds:NotANumber-v0'", "world.0.kwargs={after: 3}") == []


RIGHT = {
    "PPO": "{learning_rate: lin_1e-3, n_steps: 64, clip_range: lin_0.2, clip_range_vf: null, target_kl: 0.1, gamma: 1}",
    "A2C": "{learning_rate: 7e-4, use_rms_prop: true, ent_coef: 0, normalize_advantage: false}",
    "DQN": "{learning_rate: 1e-3, train_freq: [4, step], gradient_steps: -1, exploration_fraction: 0.2, tau: 1.0}",
    "SAC": "{ent_coef: auto, train_freq: 1, tau: 0.02, use_sde: true, target_entropy: auto, learning_starts: 0}",
    "TD3": "{policy_delay: 2, train_freq: [1, episode], target_noise_clip: 0.5}",
}


@pytest.mark.parametrize("algorithm", RIGHT)
def test_hyperparameters_as_rl_zoo_writes_them(problems: Problems, algorithm: str) -> None:
    environment = "CartPole-v1" if algorithm == "DQN" else "Pendulum-v1"
    lines = problems(
        f"world.0.environment={environment}", f"learner={{algorithm: {algorithm}, hyperparameters: {RIGHT[algorithm]}}}"
    )
    assert lines == []


@pytest.mark.parametrize(
    ("hyperparameter", "message"),
    [
        ("n_steps=1.5", "got 1.5, allowed is int"), ("n_steps=many", "got 'many', allowed is int"),
        ("n_steps=true", "got True, allowed is int"), ("gamma=high", "got 'high', allowed is float"),
        ("gamma=null", "got None, allowed is float"), ("gamma=true", "got True, allowed is float"),
        ("use_sde=1", "got 1, allowed is bool"),
        ("learning_rate=lin_fast", "got 'lin_fast', allowed is float or lin_<value>"),
        ("learning_rate=lin_-1e-3", "got 'lin_-1e-3'"), ("learning_rate=lin_1e", "got 'lin_1e'"),
        ("learning_rate=[1]", "got [1]"),
        ("gama=0.9", "unknown to PPO; did you mean gamma? Allowed are learning_rate, "),
        ("buffer_size=5", "unknown to PPO; "),
        ("seed=5", "unknown to PPO; "),  # the life's own business
    ],
)  # fmt: skip
def test_wrong_hyperparameters(problems: Problems, hyperparameter: str, message: str) -> None:
    name = hyperparameter.partition("=")[0]
    for where in ("learner", "world.0.learner"):
        (line,) = problems(f"{where}.hyperparameters.{hyperparameter}")
        assert line.startswith(f"{where}.hyperparameters.{name}: ")
        assert message in line


@pytest.mark.parametrize(
    "overrides",
    [
        ["learner.algorithm=[PPO]"],
        ["world.0.environment=':'"],
        ["world.0.environment=FrozenLake-v1", "world.0.kwargs={map_name: nowhere}"],
        ["world.0.environment=Blackjack-v1"],  # observations are tuples
        ["world.0.environment=FrozenLake-v1", "learner.normalize=true"],  # observations are numbers of states
        ["device=bogus"],
        ["learner.policy_kwargs={bogus: 1}"],
        ["learner.hyperparameters.gamma=lin_0.9"],  # only the learning rate and clip ranges may follow a schedule
        ["learner.hyperparameters.learning_rate=-1"],
        ["learner.hyperparameters.n_steps=0"],
        ["learner.hyperparameters.batch_size=1"],
        ["learner.hyperparameters.rollout_buffer_kwargs={a: 1}"],
        ["learner={algorithm: DQN, hyperparameters: {train_freq: [1, bogus]}}"],
        ["learner.hyperparameters={1: 2}"],
        ["world.0.kwargs={1: 1}"],
        ["learner={algorithm: DQN, n_envs: 2, hyperparameters: {train_freq: [1, episode]}}"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be_built_is_told_before_anything_is_made(
    tiny: Callable[..., LifeConfig], overrides: list[str]
) -> None:
    with pytest.raises(ConfigError):
        tiny(*overrides)


VERDICTS = {
    "PPO": ["{batch_size: 1}", "{batch_size: 1, normalize_advantage: false}", "{n_steps: 1}", "{clip_range_vf: -0.1}",
            "{use_sde: true}", "{learning_rate: -1}", "{rollout_buffer_kwargs: {a: 1}}", "{rollout_buffer_kwargs: {}}"],
    "A2C": ["{n_steps: 1}", "{learning_rate: -1.0}", "{use_sde: true}"],
    "SAC": ["{use_sde: true}", "{ent_coef: auto_0.1}", "{ent_coef: auto_word}", "{ent_coef: auto_0}",
            "{train_freq: [1, bogus]}", "{train_freq: [2, episode]}", "{optimize_memory_usage: true}",
            "{optimize_memory_usage: true, replay_buffer_kwargs: {handle_timeout_termination: false}}"],
}  # fmt: skip


@pytest.mark.parametrize(("algorithm", "given"), [(name, each) for name, all_ in VERDICTS.items() for each in all_])
def test_what_sb3_refuses_is_refused_without_making_it(problems: Problems, algorithm: str, given: str) -> None:
    environment = "Pendulum-v1" if algorithm == "SAC" else "CartPole-v1"
    hyperparameters = parse(given)
    config = LearnerConfig(algorithm, hyperparameters=hyperparameters)  # type: ignore[arg-type]
    possible = True
    try:
        ReinforcementLearner(config, PolicyConfig(), make_control(environment), 10, seed=0).close()
    except Exception:
        possible = False
    learner = f"learner={{algorithm: {algorithm}, hyperparameters: {given}}}"
    assert (problems(f"world.0.environment={environment}", learner) == []) == possible


@pytest.mark.parametrize(
    ("learner", "policy", "environment"),
    [
        (LearnerConfig("PPO"), PolicyConfig(), "CartPole-v1"),
        (LearnerConfig("PPO", hyperparameters={"use_sde": True}), PolicyConfig(kind="ann"), "Pendulum-v1"),
        (LearnerConfig("DQN"), PolicyConfig(net_arch=(8,)), "CartPole-v1"),
        (LearnerConfig("SAC"), PolicyConfig(coding=CodingConfig("population")), "Pendulum-v1"),
        (LearnerConfig("PPO"), PolicyConfig(T=1, state="carry"), "CartPole-v1"),
    ],
)
def test_the_outline_is_that_of_what_learns(learner: LearnerConfig, policy: PolicyConfig, environment: str) -> None:
    env = make_control(environment)
    before = torch.random.get_rng_state()
    shapes = outline(learner, policy, env)
    assert torch.equal(torch.random.get_rng_state(), before)
    built = ReinforcementLearner(learner, policy, env, 10, seed=0)
    assert shapes == {name: tuple(tensor.shape) for name, tensor in built.policy.state_dict().items()}
    built.close()


def test_large_weights_are_only_outlined() -> None:
    shapes = outline(LearnerConfig(), PolicyConfig(net_arch=(10**6, 10**6)), make_control("CartPole-v1"))
    assert sum(math.prod(shape) for shape in shapes.values()) > 10**12


def test_a_replay_buffer_is_not_made_to_check_it(problems: Problems) -> None:
    """A million images before and after a step would be two terabytes."""
    images = "world.0={environment: CartPolePixels-v1, steps: 1, kwargs: {height: 500, width: 500}}"
    assert problems(images, "learner={algorithm: DQN}") == []


@pytest.mark.parametrize(
    ("raw", "tasks"),
    [
        ({"world": [1, 2, 3]}, 3),
        ({"world": [1, {"world": [2, 3], "rounds": 10**12}, 4], "rounds": 10}, 10 * (2 * 10**12 + 2)),
        ({"world": [1] * 1001}, 1001),
        ({"world": [1] * 500, "rounds": 2}, 1000),
        ({"world": "word", "rounds": "word"}, 0),
    ],
)
def test_tasks_are_counted_with_their_rounds(raw: dict[str, Any], tasks: int) -> None:
    lines = list(too_many_tasks(raw))
    assert lines == ([f"world: got {tasks:,} tasks with all rounds, allowed are up to 1,000"] if tasks > 1000 else [])
