"""The story of a policy's transformation: the agent plays, its actor is converted, and both play the same episodes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from snn4.agent.evaluation.episodes import (
    TEST_SEED,
    VALIDATION_SEED,
    Evaluator,
    Interrupted,
    Underway,
    evaluate,
    evaluation,
)
from snn4.agent.models.files import ModelError
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.run.events import Compared, Evaluated, Event, Learned, Measure, Score, Task
from snn4.agent.run.work import File, Model, Pause, State, Stop
from snn4.agent.transformation.comparison import joules
from snn4.agent.transformation.config import TransformationConfig
from snn4.envs.control import UnknownEnvironment
from snn4.envs.world import TaskConfig
from snn4.learners.algorithms import ALGORITHMS
from snn4.learners.conversion.actors import ConvertedActor, convert_actor, spiking_agent
from snn4.learners.saved_agent import ACTIVATIONS, SavedAgent, read_agent
from snn4.policies.gene import genome

AGENT = "agent.zip"
"""The spiking agent in the run folder, for the ``load`` of its algorithm."""
PLAYERS = 8
"""Copies of the environment in which the agent plays for its calibration states."""
MOST_STATES = 50
"""States that are played, as a multiple of those that are used, for episodes that do not end."""
CALIBRATION_SEED = 3_000_000


class Named:
    """A player."""

    def __init__(self, name: str) -> None:
        self.name = name


class PolicyTransformation:
    """An SB3 agent becomes a spiking one.

    Args:
        config: a checked config with an ``environment``.

    Raises:
        ModelError, BadAgent, UnknownEnvironment: the agent cannot be read, or does not fit the environment.
    """

    unit = "steps"
    measure: Measure = "return"
    actor: ConvertedActor | None = None
    beings = [Named(NETWORK), Named(ANN_TWIN)]  # noqa: RUF012, a protocol's field

    def live(self, stop: Stop) -> Iterator[Event | Pause | Model | File]:
        """Play, convert, compare; without a pause, since all of it takes seconds."""
        states = self._states()
        actor = self.actor = convert_actor(self.agent, states, self.config.convert)
        model = self._chosen(actor)
        yield File(AGENT, lambda path: save_agent(model, path))
        players = {NETWORK: model.policy, ANN_TWIN: ann_policy(self.agent, model)}
        for name, policy in players.items():
            try:
                score = yield from self._play(name, policy, stop)
            except Interrupted:
                yield Pause()
                return
            self.scores[name] = score
            steps = self.config.convert.T if name == NETWORK else 1
            self.indicators[name] = {"latency_steps": steps, "energy_joules_measured": joules(policy, states.numpy())}
            yield Evaluated(name, self.task.label, self.age, {self.task.label: self.scores[name]}, part="test")
        self.chance = self.evaluator.chance(self.task, self.config.episodes)
        yield Compared(*({self.task.label: self.scores[name]} for name in players))

    def __init__(self, config: TransformationConfig) -> None:
        assert config.environment is not None
        self.config = config
        self.agent = read_agent(Path(config.model.source))
        if self.agent.normalized:
            raise ModelError(
                f"{config.model.source}: was trained behind VecNormalize, whose statistics are not in the file; "
                f"allowed are agents without it: distil the run of its life instead"
            )
        self.age = 0
        """Environment steps played for calibration."""
        self.task = TaskConfig(config.environment, config.convert.images)
        self.evaluator = Evaluator()
        try:
            env = self.evaluator.environment(self.task, 1)
        except UnknownEnvironment as error:
            raise ModelError(f"environment: {error}") from error
        _require_fit(self.agent, env)
        self.notes: list[str] = []
        self.scores: dict[str, Score] = {}
        self.indicators: dict[str, dict[str, Any]] = {}
        """Latency and measured energy, of each player that has a score."""
        self.chance = 0.0
        self.residual = False
        self.validated: dict[bool, float] = {}
        """Mean return in validation episodes, without and with residual membranes."""

    def _chosen(self, actor: ConvertedActor) -> BaseAlgorithm:
        """The spiking agent, with or without residual membranes: what the config says, or validation episodes."""
        convert, env = self.config.convert, self.evaluator.environment(self.task, 1)
        choices = (False, True) if convert.residual is None else (convert.residual,)
        models = {
            choice: spiking_agent(self.agent, actor, env, replace(convert, residual=choice)) for choice in choices
        }
        if len(models) > 1:
            episodes = self.config.episodes
            played = self.evaluator.environment(self.task, episodes)
            self.validated = {
                choice: evaluate(model.policy, played, episodes, VALIDATION_SEED)["return_mean"]
                for choice, model in models.items()
            }
        self.residual = max(models, key=lambda choice: self.validated.get(choice, 0.0))
        return models[self.residual]

    def _states(self) -> Tensor:
        """Observations (N, n), evenly spread over whole deterministic episodes of the agent.

        Whole ones, because an agent may do at the end of an episode what it never does at the beginning.
        """
        env = self.task.make(PLAYERS)
        env.seed(CALIBRATION_SEED)
        policy = ann_policy(self.agent, None, env)
        observation: Any = env.reset()
        wanted = self.config.convert.images
        finished = np.zeros(PLAYERS, bool)
        states = []
        while self.age < wanted or (not finished.all() and self.age < MOST_STATES * wanted):
            states.append(np.array(observation))
            actions, _ = policy.predict(observation, deterministic=True)
            observation, _, ended, _ = env.step(actions)
            finished |= ended
            self.age += PLAYERS
        env.close()
        played = np.concatenate(states).astype(np.float32)
        return torch.from_numpy(played[np.linspace(0, len(played) - 1, wanted).round().astype(int)])

    def _play(self, name: str, policy: BasePolicy, stop: Stop) -> Generator[Event, None, Score]:
        """Test episodes, the same for every player, with reports."""
        episodes = self.config.episodes
        env = self.evaluator.environment(self.task, episodes)
        return (yield from playing(name, evaluation(policy, env, episodes, TEST_SEED, stop=stop), self.age))

    @property
    def tasks(self) -> list[Task]:
        return [{"environment": self.task.label, "steps": self.task.steps}]

    @property
    def genome(self) -> dict[str, float]:
        return genome(self.config.convert.neuron_config)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Of the agent."""
        size = sum(float(value.double().abs().sum()) for value in self.agent.weights.values())
        return {"agent": f"{size:.6e}"}

    @property
    def finished(self) -> bool:
        return len(self.scores) == len(self.beings)

    def state(self) -> State:
        """Nothing: a conversion takes seconds, and starts again."""
        return {"model": {}, "learner": {}}

    def load_state(self, state: State) -> None:
        """Do nothing; see `state`."""

    def summary(self) -> dict[str, Any]:
        """Scores of both players, and the loss in returns above chance."""
        assert self.actor is not None
        ann, snn = (self.scores[name]["return_mean"] for name in (ANN_TWIN, NETWORK))
        above = ann - self.chance
        return {
            "environment": self.config.environment, "algorithm": self.agent.algorithm,
            "scores": {name: {**score, **self.indicators[name]} for name, score in self.scores.items()},
            "chance": self.chance, "loss": (ann - snn) / above if above else None,
            "layers": [
                {"neurons": neurons, "error": error}
                for neurons, error in zip(self.actor.net_arch, self.actor.errors, strict=True)
            ],
            "pieces": self.actor.pieces, "residual": self.residual, "calibration_states": self.age, "agent": AGENT,
        }  # fmt: skip


def playing(being: str, episodes: Generator[Underway, None, Score], age: int) -> Generator[Event, None, Score]:
    """Whole episodes, as ``evaluation`` plays them, with reports; the value is theirs."""
    started = time.perf_counter()
    while True:
        try:
            underway = next(episodes)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        seconds = time.perf_counter() - started
        yield Learned(being, "episodes", 0, underway.done, underway.episodes, age, None, [], {}, seconds)
        started = time.perf_counter()


def ann_policy(agent: SavedAgent, like: BaseAlgorithm | None, env: Any = None) -> BasePolicy:
    """SB3's own policy with the weights of ``agent``, for the environment ``env`` or that of ``like``."""
    env = env if like is None else like.get_env()
    algorithm = ALGORITHMS[agent.algorithm]
    make: Any = algorithm.sb3
    kwargs = {"net_arch": agent.sb3_arch(agent.net_arch["pi"]), "activation_fn": ACTIVATIONS[agent.activation]}
    model = make("MlpPolicy", env, policy_kwargs=kwargs, device="cpu")
    state = model.policy.state_dict()
    state.update({name: value for name, value in agent.weights.items() if name in state})
    model.policy.load_state_dict(state)
    model.policy.set_training_mode(False)
    return model.policy  # type: ignore[no-any-return]


def _require_fit(agent: SavedAgent, env: Any) -> None:
    for name in ("observation_space", "action_space"):
        got, allowed = getattr(agent, name), getattr(env, name)
        if (
            got.shape != allowed.shape
            or type(got) is not type(allowed)
            or getattr(got, "n", 0) != getattr(allowed, "n", 0)
        ):
            raise ModelError(f"{agent.source}: got {name} {got}, allowed is that of the environment, {allowed}")


def save_agent(model: BaseAlgorithm, path: Path) -> None:
    """Save ``model`` as SB3 does, completely or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        model.save(file)  # type: ignore[arg-type]
    partial.replace(path)
