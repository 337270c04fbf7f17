"""The story of a policy's compression: it is made smaller, learns from its uncompressed self, and both are tested."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from snn4.agent.evaluation.episodes import (
    TEST_SEED,
    VALIDATION_SEED,
    Evaluator,
    Interrupted,
    evaluation,
    observe,
)
from snn4.agent.models.policies import TrainedPolicy
from snn4.agent.run.beings import NETWORK
from snn4.agent.run.events import Evaluated, Event, Learned, Measure, Score, Task
from snn4.agent.run.work import File, Pause, State, Stop
from snn4.agent.transformation.comparison import AFTER, BEFORE, grid_of, joules, policy_indicators, seconds_per_decision
from snn4.agent.transformation.config import TransformationConfig
from snn4.agent.transformation.policy import AGENT, Named, playing, save_agent
from snn4.learners.algorithms import make_policy
from snn4.learners.policy_distillation import PolicyTeacherConfig
from snn4.learners.policy_teacher import misfit, teacher_from
from snn4.learners.protection import acting_optimizer
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.learners.taught import TaughtLearner
from snn4.policies.acting.activity import activity
from snn4.policies.compression.config import CompressionConfig
from snn4.policies.compression.learning import Rounding, quantize, synapses
from snn4.policies.compression.pruning import with_pattern
from snn4.policies.gene import genome
from snn4.policies.inheritance import inherit, inheritance
from snn4.policies.sb3 import PolicyConfig, acting_modules

LIFE, NORMALIZATION = "life.yaml", "normalization.json"
"""The config of a life that goes on from the compressed policy, and the statistics of its observations."""
OBSERVATIONS = 512
"""Observations on which the use of neurons is measured, and on which decisions are timed."""
WATCHED = 16
"""Copies of the environment in which the policy is watched for it."""
WATCH_SEED = 3_000_000
STRETCHES, ROUNDS, EPOCHS = 8, 2, 16
"""Validations in a recovery, rounds of lessons between two, and passes over the observations after each round."""


class PolicyCompression:
    """The policy of a life becomes smaller.

    Args:
        config: a checked config with ``compress``.
        trained: the policy.

    Raises:
        ValueError: the policy cannot be compressed in this way; with the field.
    """

    unit = "steps"
    measure: Measure = "return"
    beings = [Named(NETWORK)]  # noqa: RUF012, a protocol's field
    learner: ReinforcementLearner
    """Who learns, or only acts."""
    best: dict[str, Any] | None = None
    """The weights that did best in validation, and their return."""
    rounding: Rounding | None = None

    def live(self, stop: Stop) -> Iterator[Event | Pause | File]:
        """Recover, with a validation after each stretch; test the best weights beside the uncompressed policy."""
        try:
            if self.best is None:
                yield from self._validate(stop)
            while self.learner.step < self.steps:
                yield from self._recover(stop)
                if stop():
                    yield Pause()
                    return
                yield from self._validate(stop)
                self.boundary = copy.deepcopy(self._state())
                yield Pause()
            assert self.best is not None
            self._load(self.best)
            yield from self._files()
            yield from self._test(stop)
        except Interrupted:
            yield Pause()

    def _recover(self, stop: Stop) -> Iterator[Event]:
        """Learn a stretch, which can be repeated exactly."""
        learner = self.learner
        number = learner.step * STRETCHES // self.steps + 1
        learner.begin(self.config.seed + number)
        for progress in learner.learn(-(-self.steps * number // STRETCHES), stop):
            yield Learned(
                NETWORK, self.task.label, 0, progress.step, self.steps, self.age, progress.episode_return,
                progress.spike_rates, progress.losses, progress.seconds,
            )  # fmt: skip

    def _validate(self, stop: Stop) -> Iterator[Event]:
        """Play validation episodes, and keep the best weights; of equals, the later ones."""
        normalization = self.learner.normalization()
        score = yield from self._play(self.learner.policy, VALIDATION_SEED, normalization, stop)
        better = self.best is None or score["return_mean"] >= self.best["return_mean"]
        if better:
            parameters = copy.deepcopy(self.learner.policy.state_dict())
            self.best = {
                "return_mean": score["return_mean"], "parameters": parameters,
                "normalization": copy.deepcopy(normalization), "step": self.learner.step,
            }  # fmt: skip
        yield Evaluated(NETWORK, self.task.label, self.age, {self.task.label: score}, better)

    def _test(self, stop: Stop) -> Iterator[Event]:
        """Both play the same test episodes, and their decisions are timed in turns."""
        policies = {BEFORE: self.trained.policy, AFTER: self.learner.policy}
        normalizations = {BEFORE: self.trained.normalization, AFTER: self.learner.normalization()}
        played = {}
        for name, policy in policies.items():
            played[name] = yield from self._play(policy, TEST_SEED, normalizations[name], stop)
        seconds = seconds_per_decision(policies, self.observations.numpy())
        for name, policy in policies.items():
            grid = self.grid if name == AFTER else None
            acting = nn.ModuleList(acting_modules(policy))
            row = policy_indicators(played[name], acting, grid, self.smaller.T, seconds[name])
            self.rows[name] = {**row, "energy_joules_measured": joules(policy, self.observations.numpy())}
        score = {self.task.label: played[AFTER]}
        yield Evaluated(NETWORK, self.task.label, self.age, score, part="test")

    def _play(
        self, policy: BasePolicy, seed: int, normalization: dict[str, Any] | None, stop: Stop
    ) -> Generator[Event, None, Score]:
        """Whole episodes, with reports."""
        episodes = self.config.episodes
        env = self.evaluator.environment(self.task, episodes)
        return (yield from playing(NETWORK, evaluation(policy, env, episodes, seed, normalization, stop), self.age))

    def _files(self) -> Iterator[File]:
        yield File(AGENT, lambda path: save_agent(self.learner.model, path))
        # The config names the folder, from which the life starts.
        yield File(LIFE, lambda path: _write(path, self.trained.life(_initial(self.smaller, path.parent))))
        if (normalization := self.learner.normalization()) is not None:
            text = json.dumps(normalization, default=lambda x: np.asarray(x).tolist())
            yield File(NORMALIZATION, lambda path: _write(path, text))

    def __init__(self, config: TransformationConfig, trained: TrainedPolicy) -> None:
        assert config.compress is not None
        self.config, self.trained, self.task = config, trained, trained.task
        self.grid = grid_of(config.compress)
        self.notes: list[str] = []
        self.rows: dict[str, dict[str, Any]] = {}
        """Indicators before and after."""
        self.evaluator = Evaluator(trained.max_episode_steps)
        self.smaller = smaller(trained, config.compress)
        self.steps = config.compress.steps if config.compress.recover else 0
        self.learner = self._learner(config.compress)
        env = self.evaluator.environment(self.task, WATCHED)
        self.observations = observe(trained.policy, env, OBSERVATIONS, WATCH_SEED, trained.normalization)
        self._compress(config.compress)
        self.boundary = copy.deepcopy(self._state())
        """The state after the last stretch."""

    def _learner(self, compress: CompressionConfig) -> ReinforcementLearner:
        """Who learns, or only acts; its policy has new weights still."""
        trained, seed = self.trained, self.config.seed
        env = self.task.make(trained.learner.n_envs)
        settings = trained.learner, self.smaller, env, max(self.steps, 1), seed, "cpu"
        if not compress.recover:
            return ReinforcementLearner(*settings)
        teacher = teacher_from(trained.source, trained.policy, env.observation_space, trained.normalization)
        if problem := misfit(teacher, env.observation_space, env.action_space):
            raise ValueError(f"compress.recover: {problem}; set compress.recover=false")
        length = max(1, self.steps // (STRETCHES * ROUNDS))
        lessons = PolicyTeacherConfig(
            trained.source, steps=self.steps, mix="pupil", round_steps=length, epochs=EPOCHS, learning_rate=1e-3
        )
        return TaughtLearner(*settings, lessons, teacher)

    def _compress(self, compress: CompressionConfig) -> None:
        """Give the learner's policy the weights of the trained one, in their new form."""
        policy, parent = self.learner.policy, self.trained.policy
        dense = dataclasses.replace(self.smaller, sparsity=self.trained.config.sparsity)
        child = make_policy(self.trained.learner, dense, self.evaluator.environment(self.task, 1))
        uses = [activity(parent, self.observations)]
        inherit(child, parent, inheritance([parent], child, uses, self.config.seed))
        weights = child.state_dict()
        if compress.kept is not None:
            weights = with_pattern(policy, weights, compress.kept)
        policy.load_state_dict(weights)  # sparse layers keep the largest
        self.learner.normalize_as(self.trained.normalization)
        acting = nn.ModuleList(acting_modules(policy))
        if self.grid is not None and compress.recover:
            self.rounding = Rounding(synapses(acting), self.grid, [acting_optimizer(policy)])
        elif self.grid is not None:
            quantize(acting, self.grid)

    def _load(self, best: Mapping[str, Any]) -> None:
        self.learner.policy.load_state_dict(best["parameters"])
        self.learner.normalize_as(best["normalization"])

    @property
    def tasks(self) -> list[Task]:
        return [{"environment": self.task.label, "steps": self.steps or self.config.episodes}]

    @property
    def genome(self) -> dict[str, float]:
        return genome(self.smaller)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Of the policy."""
        size = sum(float(x.double().abs().sum()) for x in self.trained.policy.state_dict().values())
        return {"policy": f"{size:.6e}"}

    @property
    def age(self) -> int:
        """Environment steps of the recovery."""
        return self.learner.step

    @property
    def finished(self) -> bool:
        return AFTER in self.rows

    def state(self) -> State:
        """The end of the last stretch."""
        return {"model": {}, "learner": self.boundary}

    def _state(self) -> dict[str, Any]:
        rounding = None if self.rounding is None else self.rounding.state()
        return {"learner": self.learner.state(), "rounding": rounding, "best": self.best}

    def load_state(self, state: State) -> None:
        """Continue from ``state``."""
        saved = state["learner"]
        self.learner.load_state(saved["learner"])
        if self.rounding is not None:
            self.rounding.load_state(saved["rounding"])
        self.best = saved["best"]
        self.boundary = copy.deepcopy(saved)

    def summary(self) -> dict[str, Any]:
        """Both rows."""
        assert self.config.compress is not None
        assert self.best is not None
        return {
            "environment": self.task.environment, "comparison": self.rows, "part": "test",
            "compressed": dataclasses.asdict(self.config.compress), "recovered_steps": self.steps,
            "chosen_step": self.best["step"], "validation_return": self.best["return_mean"],
            "policy": dataclasses.asdict(self.smaller), "source": self.trained.source, "agent": AGENT,
        }  # fmt: skip


def smaller(trained: TrainedPolicy, compress: CompressionConfig) -> PolicyConfig:
    """The config of the compressed policy."""
    config = trained.config
    if config.kind != "spiking":
        raise ValueError(f"model.source: got a policy of kind {config.kind}, allowed are spiking ones")
    if compress.shrink and "net_arch" in trained.learner.policy_kwargs:
        got = f"shrink: got {compress.shrink} for a life with learner.policy_kwargs.net_arch"
        raise ValueError(f"{got}, allowed are prune, pattern and bits")
    if compress.recover and config.state == "carry":
        raise ValueError("recover: true is not allowed for a policy with state: carry; set compress.recover=false")
    return dataclasses.replace(
        config, net_arch=tuple(map(compress.width, config.net_arch)), initial=None,
        sparsity=max(compress.sparsity, config.sparsity), spike_cost=compress.spike_cost or config.spike_cost,
    )  # fmt: skip


def _initial(config: PolicyConfig, folder: Path) -> PolicyConfig:
    return dataclasses.replace(config, initial=str(folder))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
