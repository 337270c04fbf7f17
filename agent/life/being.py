"""A being: an organism, or its ANN twin, in a world of its own, where it learns the tasks and is tested."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import set_random_seed

from snn4.agent.evaluation.decisions import decisions
from snn4.agent.evaluation.episodes import (
    TEST_SEED,
    UNLIMITED_EPISODE,
    VALIDATION_SEED,
    Evaluator,
    Underway,
    evaluation,
    normalized,
    observe,
    summary_row,
)
from snn4.agent.evaluation.joules import joules_per_decision
from snn4.agent.evaluation.returns import retention
from snn4.agent.life.config import LifeConfig, LifeTask
from snn4.agent.life.organism import Learner, Organism
from snn4.agent.life.teachers import Teaching
from snn4.agent.run.beings import name_of
from snn4.agent.run.events import Entered, Evaluated, Event, Learned, Noted, Score
from snn4.agent.run.work import Stop
from snn4.envs.labelled import Labelled, Part
from snn4.envs.world import World
from snn4.learners.algorithms import make_policy
from snn4.learners.classification import ClassificationLearner
from snn4.learners.not_finite import NotFinite
from snn4.learners.policy_distillation import PolicyTeacherConfig
from snn4.learners.policy_teacher import PolicyTeacher
from snn4.learners.protection import Protection
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.learners.taught import TaughtLearner
from snn4.policies.acting.behaviour import Behaviour
from snn4.policies.gene import with_genes
from snn4.policies.metering import Meter
from snn4.policies.sb3 import PolicyConfig


class Being:
    """One life in ``config.world``.

    Args:
        name: of `snn4.agent.run.beings`.
        config: a checked config.
        policy: the organism's, or the twin's.
        evaluator: environments for tests; all beings share it.
        teachers: all beings share them.
    """

    def __init__(
        self, name: str, config: LifeConfig, policy: PolicyConfig, evaluator: Evaluator, teachers: Teaching
    ) -> None:
        self.name = name
        self.config = self._as_begun = config
        self.evaluator = evaluator
        self.teachers = teachers
        self.organism = Organism(policy, Protection(config.protection))
        self.world = World(config.world)
        self.scores: dict[str, Score] = {}
        """Rows of ``summary.json``, after the test."""
        self.returns: list[dict[str, float]] = []
        """After each finished task: mean validation return in every task so far, and in the next one before it
        begins."""
        self.newborn: dict[str, float] = {}
        """Mean validation return of a policy that has learned nothing, in every task but the first."""
        self.learner: Learner | None = None
        """Of the present task; None between tasks."""
        self.best: dict[str, Any] | None = None
        """The best validation in the present task, with a snapshot."""
        self.owes_validation = False
        """Whether a whole stretch of the present task was learned and is not validated yet."""
        self._saved_learner: dict[str, Any] | None = None
        """State of the learner in the checkpoint from which the life continues."""

    @property
    def step(self) -> int:
        """Step of the present task."""
        return self._learner().step

    def take_up(self, task: LifeTask, stop: Stop) -> Iterator[Event]:
        """Begin ``task``, or continue it from a checkpoint; a new task is first tested."""
        learner = self.learner = self._newborn(task, self._seed(0), self.teachers.of(task, self.name))
        if self._saved_learner is not None:
            learner.load_state(self._saved_learner)
            self._saved_learner = None
        else:
            self.best = None
            self.owes_validation = False
            self.organism.prepare(task.name, learner.policy)
            if (memory := self.organism.tasks.get(task.name)) is not None:
                learner.normalize_as(memory.normalization)
        self._guard(task, learner)
        yield from self._look_ahead(task, learner, stop)
        joules = self._ann_joules(task)
        yield Entered(self.name, task.label, self.world.position, learner.step, task.steps, joules)

    def pass_over(self, task: LifeTask, steps: int, seconds: float) -> None:
        """Count ``steps`` of ``task`` that its candidates have lived."""
        self._learner().skip(steps)
        self.organism.spend(task.name, steps, seconds)

    def become(self, task: LifeTask, genes: dict[str, Any], state: dict[str, Any], number: int) -> None:
        """Become the candidate with this ``number`` in the lineage, in the midst of ``task``.

        Args:
            genes: the candidate's.
            state: its `state`, as ``state["being"]``.
        """
        before = self._learner().state()
        self._learner().close()
        self.organism.become(state["being"]["organism"])
        self.organism.lineage.append(str(number))
        self._express({**self.organism.genes, **genes})
        learner = self.learner = self._newborn(task, self._seed(self.organism.age), self.teachers.of(task, self.name))
        self.organism.prepare(task.name, learner.policy)
        learner.adopt(before, self.organism.tasks[task.name].normalization)
        self._guard(task, learner)
        self.best, self.owes_validation = None, True  # the best weights so far have another form

    def _express(self, genes: dict[str, Any]) -> None:
        """Live with ``genes`` from now on."""
        self.organism.genes = genes
        self.config = with_genes(self._as_begun, genes)
        self.organism.config = self.config.beings[self.name]

    def learn(self, task: LifeTask, until: int, stop: Stop) -> Iterator[Event]:
        """Learn up to step ``until`` of ``task``: a stretch that can be repeated exactly.

        Raises:
            NotFinite: names being, task and step.
        """
        learner, number = self._learner(), self.world.position
        before = learner.step
        seed = self._seed(before)
        learner.begin(seed)
        self.organism.protection.begin(seed)
        try:
            for progress in learner.learn(until, stop):
                self.organism.spend(task.name, progress.step - before, progress.seconds)
                before = progress.step
                yield Learned(
                    self.name, task.label, number, progress.step, task.steps, self.organism.age,
                    progress.episode_return, progress.spike_rates, progress.losses, progress.seconds,
                    acting_seconds=progress.acting_seconds,
                )  # fmt: skip
                while learner.notes:
                    yield Noted(learner.notes.pop(0))
        except NotFinite as error:
            raise NotFinite(f"{self.name}, task {number} ({task.label}), {error}") from error
        self.organism.remember(task.name, learner)
        self.owes_validation = learner.step >= until

    def validate(self, task: LifeTask, stop: Stop) -> Iterator[Event]:
        """Test all tasks seen so far on validation episodes, and keep the best weights in ``task``.

        Raises:
            Interrupted: ``stop`` returned True; the validation is still owed.
        """
        started = time.perf_counter()
        scores = yield from self._evaluate(self.config.evaluation.episodes, VALIDATION_SEED, stop)
        returns = {name: score["return_mean"] for name, score in scores.items()}
        better = self.best is None or returns[task.label] >= self.best["return_mean"]
        if better:
            snapshot = self.organism.snapshot(task.name)
            self.best = {"return_mean": returns[task.label], "returns": returns, "snapshot": snapshot}
        self.owes_validation = False
        seconds = time.perf_counter() - started
        yield Evaluated(
            self.name, task.label, self.organism.age, scores, better, number=self.world.position, seconds=seconds
        )

    def finish(self, task: LifeTask) -> None:
        """End ``task`` with its best weights, and keep what protects it while later tasks are learned."""
        self._learner().close()
        self.learner = None
        best = self.best
        if best is not None:
            self.organism.restore(task.name, best["snapshot"])
        self.returns = [*self.returns[: self.world.position], {} if best is None else best["returns"]]
        protection = self.organism.protection
        policy = self.policy(task)
        behaviour = None
        if protection.config.measures:
            env = self.evaluator.environment(task, self.config.evaluation.episodes, "train")
            normalization = self.organism.tasks[task.name].normalization
            seen = observe(policy, env, protection.config.samples, self._seed(task.steps), normalization)
            behaviour = Behaviour.of(policy, seen)
        protection.finish(task.name, policy, behaviour)

    def test(self, episodes: int, stop: Stop = lambda: False) -> Iterator[Event]:
        """Test all tasks seen so far on test episodes, and keep the rows of ``summary.json``."""
        started = time.perf_counter()
        scores = yield from self._evaluate(episodes, TEST_SEED, stop)
        for task in self.world.seen:
            memory = self.organism.tasks[task.name]
            steps = task.policy(self.organism.config).latency_steps
            with torch.random.fork_rng():  # the measurement exists on few machines, and must change nothing
                joules = joules_per_decision(partial(self._deciding, task))
            self.scores[task.label] = summary_row(scores[task.label], memory.env_steps, memory.seconds, steps, joules)
        yield Evaluated(
            self.name, self.world.tasks[-1].label, self.organism.age, scores, part="test", number=self.world.position,
            seconds=time.perf_counter() - started,
        )  # fmt: skip

    def _deciding(self, task: LifeTask) -> Callable[[], object]:
        """A function that decides on the first observation of ``task``."""
        policy = self.policy(task)
        env = normalized(self.evaluator.environment(task, 1), self.organism.tasks[task.name].normalization)
        observation: Any = env.reset()
        return lambda: policy.predict(observation, deterministic=True)

    def policy(self, task: LifeTask) -> BasePolicy:
        """Its present policy in ``task``."""
        learner, env = self.config.learner_of(task), self.evaluator.environment(task, 1)
        return self.organism.prepare(task.name, make_policy(learner, task.policy(self.organism.config), env))

    def decisions(self, number: int) -> list[dict[str, Any]]:
        """What its neurons do in the first ``number`` decisions of the first test episode in its last task, if it has
        learned that."""
        task = self.world.tasks[-1]
        if task.name not in self.organism.tasks:
            return []
        env, normalization = self.evaluator.environment(task, 1), self.organism.tasks[task.name].normalization
        return decisions(self.policy(task), env, TEST_SEED, number, normalization)

    def retention(self) -> dict[str, Any]:
        """The retention of all tasks after each task (`snn4.agent.evaluation.returns`)."""
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
        """Plain data and tensors, without `task_state`."""
        return {
            "organism": self.organism.state(), "position": self.world.position, "scores": self.scores,
            "returns": self.returns, "newborn": self.newborn,
        }  # fmt: skip

    def task_state(self) -> dict[str, Any] | None:
        """The state inside the present task; None between tasks."""
        if self.learner is None:
            return None
        return {"learner": self.learner.state(), "best": self.best, "owes_validation": self.owes_validation}

    def load_state(self, state: dict[str, Any], task: dict[str, Any] | None) -> None:
        """Continue from ``state``; ``task`` is its `task_state`."""
        self.organism.load_state(state["organism"])
        self._express(self.organism.genes)
        self.world.position = state["position"]
        self.scores = state["scores"]
        self.returns = state.get("returns", [])  # early checkpoints of version 0.1 have neither
        self.newborn = state.get("newborn", {})
        if task is not None:
            self._saved_learner = task["learner"]
            self.best = task["best"]
            self.owes_validation = task.get("owes_validation", False)  # 0.1 validated before it stopped

    def _newborn(
        self, task: LifeTask, seed: int, taught: tuple[PolicyTeacherConfig, PolicyTeacher] | None = None
    ) -> Learner:
        """A learner that has learned nothing, and its teacher if it is to be ``taught``."""
        config, policy = self.config.learner_of(task), task.policy(self.organism.config)
        env = task.make(config.n_envs)
        if not isinstance(env, Labelled):
            arguments = config, policy, env, task.steps, seed, self.config.device
            return ReinforcementLearner(*arguments) if taught is None else TaughtLearner(*arguments, *taught)
        set_random_seed(seed)
        classifier = make_policy(config, policy, env, learns=True).to(self.config.device)
        return ClassificationLearner(task.recognition, classifier, env.samples, task.steps)

    def _learner(self) -> Learner:
        assert self.learner is not None
        return self.learner

    def _guard(self, task: LifeTask, learner: Learner) -> None:
        protection = self.organism.protection
        latest = {past.name: past for past in self.world.tasks[: self.world.position + 1]}
        earlier = {name: self.policy(latest[name]) for name in protection.earlier(task.name)}
        protection.guard(task.name, learner.policy, earlier)

    def _look_ahead(self, task: LifeTask, learner: Learner, stop: Stop) -> Iterator[Event]:
        """Test the being and a newborn in a new task before it is learned; the difference is transfer."""
        rows = self.returns
        if learner.step or not rows or task.label in rows[-1]:
            return
        newborn = self._newborn(task, self._seed(0))
        returns = []
        for player in (learner, newborn):
            settings = self.config.evaluation.episodes, VALIDATION_SEED, player.normalization(), stop
            score = yield from self._score(task, player.policy, *settings)
            returns.append(score["return_mean"])
        newborn.close()
        rows[-1] = {**rows[-1], task.label: returns[0]}
        self.newborn[task.label] = returns[1]

    def _evaluate(self, episodes: int, seed: int, stop: Stop) -> Generator[Event, None, dict[str, Score]]:
        """Scores of the present weights in each task seen so far."""
        scores = {}
        for task in self.world.seen:
            normalization = self.organism.tasks[task.name].normalization
            score = yield from self._score(task, self.policy(task), episodes, seed, normalization, stop)
            scores[task.label] = score
        return scores

    def _score(
        self, task: LifeTask, policy: BasePolicy, episodes: int, seed: int, normalization: Any, stop: Stop
    ) -> Generator[Event, None, Score]:
        """The score of ``policy`` in ``task``; a long evaluation yields notes."""
        part: Part = "test" if seed == TEST_SEED else "validation"
        env = self.evaluator.environment(task, episodes, part)
        title = f"{name_of(self.name)} {part} in {task.label}"
        try:
            play = evaluation(policy, env, episodes, seed, normalization, stop)
            score = yield from _with_notes(play, title)
        except NotFinite as error:
            where = f"{self.name}, task {task.label}, evaluation at step {self.organism.age}"
            raise NotFinite(f"{where}: {error}") from error
        if cut := score.get("episodes_cut", 0):
            limit = self.config.evaluation.max_episode_steps or UNLIMITED_EPISODE
            yield Noted(
                f"{title}: cut {cut} of {episodes} episodes after {limit:,} steps (evaluation.max_episode_steps)"
            )
        return score

    def _ann_joules(self, task: LifeTask) -> dict[str, float | None]:
        """Joules per decision of an untrained ANN of the same widths: a reference from the start."""
        learner, env = self.config.learner_of(task), self.evaluator.environment(task, 1)
        policy = make_policy(learner, task.policy(self.config.policy.ann_twin()), env)
        env.seed(VALIDATION_SEED)
        with Meter(policy) as meter:
            policy.predict(env.reset(), deterministic=True)  # type: ignore[arg-type]
        return meter.cost().energy_joules

    def _seed(self, step: int) -> int:
        """Seed of the stretch of the present task that begins at ``step``; the twin has the same seeds."""
        sequence = np.random.SeedSequence([self.config.seed, self.world.position, step])
        return int(sequence.generate_state(1)[0] >> 1)


def _with_notes(play: Generator[Underway, None, Score], title: str) -> Generator[Event, None, Score]:
    """The result of an evaluation; its reports on the way become notes."""
    while True:
        try:
            underway = next(play)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        yield Noted(f"{title}: {underway.done} of {underway.episodes} episodes after {underway.steps:,} steps")
