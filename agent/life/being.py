"""Who lives: an organism, or its ANN twin, in a world of its own, whose tasks it takes up and is tested in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import set_random_seed

from snn4.agent.evaluation.episodes import TEST_SEED, VALIDATION_SEED, Evaluator, evaluate, observe, summary_row
from snn4.agent.evaluation.returns import retention
from snn4.agent.life.config import LifeConfig, LifeTask
from snn4.agent.life.organism import Learner, Organism
from snn4.agent.run.events import Entered, Evaluated, Learned, Score
from snn4.envs.labelled import Labelled, Part
from snn4.envs.world import World
from snn4.learners.algorithms import make_policy
from snn4.learners.classification import ClassificationLearner
from snn4.learners.not_finite import NotFinite
from snn4.learners.protection import Protection
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.acting.behaviour import Behaviour
from snn4.policies.metering import Meter
from snn4.policies.sb3 import PolicyConfig

Stop = Callable[[], bool]


class Being:
    """One life in ``config.world``.

    Args:
        name: of `snn4.agent.run.beings`.
        config: a checked config.
        policy: its own: the organism's, or the twin's.
        evaluator: environments for tests, which beings share.
    """

    def __init__(self, name: str, config: LifeConfig, policy: PolicyConfig, evaluator: Evaluator) -> None:
        self.name, self.config, self.evaluator = name, config, evaluator
        self.organism, self.world = Organism(policy, Protection(config.protection)), World(config.world)
        self.scores: dict[str, Score] = {}
        """Rows of ``summary.json``, once it has been tested."""
        self.returns: list[dict[str, float]] = []
        """After each finished task: mean validation return in every task met so far, and in the next before it is
        lived."""
        self.newborn: dict[str, float] = {}
        """Mean validation return in tasks but the first of one who has learned nothing."""
        self.learner: Learner | None = None
        """Of the present task; None between tasks."""
        self.best: dict[str, Any] | None = None
        """The best validation in the present task, with a snapshot."""
        self._left: dict[str, Any] | None = None
        """State of the learner in the checkpoint that is gone on from."""

    @property
    def step(self) -> int:
        """Of the present task."""
        return self._learner().step

    def take_up(self, task: LifeTask) -> Entered:
        """Begin ``task``, or go on with it where a checkpoint left it; test it first where it is new."""
        learner = self.learner = self._newborn(task, self._seed(0))
        if self._left is not None:
            learner.load_state(self._left)
            self._left = None
        else:
            self.best = None
            self.organism.prepare(task.name, learner.policy)
            if (memory := self.organism.tasks.get(task.name)) is not None:
                learner.normalize_as(memory.normalization)
        self._guard(task, learner)
        self._look_ahead(task, learner)
        joules = self._ann_joules(task)
        return Entered(self.name, task.label, self.world.position, learner.step, task.steps, joules)

    def learn(self, task: LifeTask, until: int, stop: Stop) -> Iterator[Learned]:
        """Learn up to step ``until`` of ``task``, in a stretch that can be repeated.

        Raises:
            NotFinite: naming being, task and step.
        """
        learner, number = self._learner(), self.world.position
        seed, before = self._seed(learner.step), learner.step
        learner.begin(seed)
        self.organism.protection.begin(seed)
        try:
            for progress in learner.learn(until, stop):
                self.organism.spend(task.name, progress.step - before, progress.seconds)
                before = progress.step
                yield Learned(
                    self.name, task.label, number, progress.step, task.steps, self.organism.age,
                    progress.episode_return, progress.spike_rates, progress.losses, progress.seconds,
                )  # fmt: skip
        except NotFinite as error:
            raise NotFinite(f"{self.name}, task {number} ({task.label}), {error}") from error
        self.organism.remember(task.name, learner)

    def validate(self, task: LifeTask) -> Evaluated:
        """Test all tasks seen so far in validation episodes; the best weights in ``task`` are remembered."""
        started = time.perf_counter()
        scores = self._evaluate(self.world.seen, self.config.evaluation.episodes, VALIDATION_SEED)
        returns = {name: score["return_mean"] for name, score in scores.items()}
        better = self.best is None or returns[task.label] >= self.best["return_mean"]
        if better:
            snapshot = self.organism.snapshot(task.name)
            self.best = {"return_mean": returns[task.label], "returns": returns, "snapshot": snapshot}
        seconds = time.perf_counter() - started
        return Evaluated(
            self.name, task.label, self.organism.age, scores, better, number=self.world.position, seconds=seconds
        )

    def finish(self, task: LifeTask) -> None:
        """End ``task`` with what was best in it, and keep what protects it while later ones are learned."""
        self._learner().close()
        self.learner, best = None, self.best
        if best is not None:
            self.organism.restore(task.name, best["snapshot"])
        self.returns = [*self.returns[: self.world.position], {} if best is None else best["returns"]]
        protection, policy, behaviour = self.organism.protection, self.policy(task), None
        if protection.config.measures:
            env = self.evaluator.environment(task, self.config.evaluation.episodes, "train")
            normalization = self.organism.tasks[task.name].normalization
            seen = observe(policy, env, protection.config.samples, self._seed(task.steps), normalization)
            behaviour = Behaviour.of(policy, seen)
        protection.finish(task.name, policy, behaviour)

    def test(self, episodes: int) -> Evaluated:
        """Test all tasks met so far on test episodes, and keep the rows of ``summary.json``."""
        started = time.perf_counter()
        scores = self._evaluate(self.world.seen, episodes, TEST_SEED)
        for task in self.world.seen:
            memory = self.organism.tasks[task.name]
            self.scores[task.label] = summary_row(scores[task.label], memory.env_steps, memory.seconds)
        last, position = self.world.tasks[-1], self.world.position
        return Evaluated(
            self.name, last.label, self.organism.age, scores, part="test", number=position,
            seconds=time.perf_counter() - started,
        )  # fmt: skip

    def policy(self, task: LifeTask) -> BasePolicy:
        """What it acts with in ``task`` now."""
        learner, env = task.learner or self.config.learner, self.evaluator.environment(task, 1)
        return self.organism.prepare(task.name, make_policy(learner, task.policy(self.organism.config), env))

    def retention(self) -> dict[str, Any]:
        """What it retained of its tasks after every one of them (`snn4.agent.evaluation.returns`)."""
        tasks = self.config.world
        chance = {
            label: self.evaluator.chance(task, self.config.evaluation.episodes)
            for label, task in {task.label: task for task in tasks}.items()
        }
        references = {task.label: task.reference for task in tasks if task.reference is not None}
        protection = self.organism.protection
        return {
            **retention(self.returns, [task.label for task in tasks], chance, references, self.newborn),
            "memory_bytes": protection.bytes, "replay_bytes": protection.replay_bytes,
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Plain data and tensors, but for what `task_state` holds."""
        return {
            "organism": self.organism.state(), "position": self.world.position, "scores": self.scores,
            "returns": self.returns, "newborn": self.newborn,
        }  # fmt: skip

    def task_state(self) -> dict[str, Any] | None:
        """What goes on inside the present task."""
        return None if self.learner is None else {"learner": self.learner.state(), "best": self.best}

    def load_state(self, state: dict[str, Any], task: dict[str, Any] | None) -> None:
        """Become who was saved; ``task`` is its `task_state`, None where it was in none."""
        self.organism.load_state(state["organism"])
        self.world.position, self.scores = state["position"], state["scores"]
        self.returns, self.newborn = state.get("returns", []), state.get("newborn", {})  # 0.1 saved none at first
        if task is not None:
            self._left, self.best = task["learner"], task["best"]

    def _newborn(self, task: LifeTask, seed: int) -> Learner:
        """A learner who knows nothing."""
        config, policy = task.learner or self.config.learner, task.policy(self.organism.config)
        env = task.make(config.n_envs)
        if not isinstance(env, Labelled):
            return ReinforcementLearner(config, policy, env, task.steps, seed, self.config.device)
        set_random_seed(seed)
        classifier = make_policy(config, policy, env).to(self.config.device)
        return ClassificationLearner(task.recognition, classifier, env.samples, task.steps)

    def _learner(self) -> Learner:
        assert self.learner is not None
        return self.learner

    def _guard(self, task: LifeTask, learner: Learner) -> None:
        protection = self.organism.protection
        stays = {stay.name: stay for stay in self.world.tasks[: self.world.position + 1]}  # the latest of each name
        earlier = {name: self.policy(stays[name]) for name in protection.earlier(task.name)}
        protection.guard(task.name, learner.policy, earlier)

    def _look_ahead(self, task: LifeTask, learner: Learner) -> None:
        """Test a task that was not met yet: what earlier ones have taught for it, and what a newborn can do."""
        rows = self.returns
        if learner.step or not rows or task.label in rows[-1]:
            return
        newborn = self._newborn(task, self._seed(0))
        taught, untaught = (self._score(task, own.policy, own.normalization()) for own in (learner, newborn))
        newborn.close()
        rows[-1], self.newborn[task.label] = {**rows[-1], task.label: taught}, untaught

    def _score(self, task: LifeTask, policy: BasePolicy, normalization: dict[str, Any] | None) -> float:
        episodes = self.config.evaluation.episodes
        env = self.evaluator.environment(task, episodes)
        with self._naming(task):
            return float(evaluate(policy, env, episodes, VALIDATION_SEED, normalization)["return_mean"])

    def _evaluate(self, tasks: list[LifeTask], episodes: int, seed: int) -> dict[str, Score]:
        """Scores in each of ``tasks``, with the weights that it has now."""
        part: Part = "test" if seed == TEST_SEED else "validation"
        scores = {}
        for task in tasks:
            env, policy = self.evaluator.environment(task, episodes, part), self.policy(task)
            with self._naming(task):
                normalization = self.organism.tasks[task.name].normalization
                scores[task.label] = evaluate(policy, env, episodes, seed, normalization)
        return scores

    def _ann_joules(self, task: LifeTask) -> dict[str, float | None]:
        """Joules per decision of an untrained ANN of the same widths: a mark to compare with from the start."""
        learner, env = task.learner or self.config.learner, self.evaluator.environment(task, 1)
        policy = make_policy(learner, task.policy(self.config.policy.ann_twin()), env)
        env.seed(VALIDATION_SEED)
        with Meter(policy) as meter:
            policy.predict(env.reset(), deterministic=True)  # type: ignore[arg-type]
        return meter.cost().energy_joules

    @contextmanager
    def _naming(self, task: LifeTask) -> Iterator[None]:
        """Where numbers stop being finite."""
        try:
            yield
        except NotFinite as error:
            where = f"{self.name}, task {task.label}, evaluation at step {self.organism.age}"
            raise NotFinite(f"{where}: {error}") from error

    def _seed(self, step: int) -> int:
        """Of the stretch of the present task that begins at ``step``; the twin draws the same, to live under equal
        luck."""
        sequence = np.random.SeedSequence([self.config.seed, self.world.position, step])
        return int(sequence.generate_state(1)[0] >> 1)
