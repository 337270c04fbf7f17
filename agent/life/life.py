"""The life of an organism: a generator of events, from the first task to the comparison with its ANN twin."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import set_random_seed

from snn4.agent.config.file import dump
from snn4.agent.evaluation.episodes import TEST_SEED, VALIDATION_SEED, Evaluator, evaluate, observe, summary_row
from snn4.agent.evaluation.returns import retention
from snn4.agent.life.config import LifeConfig, LifeTask
from snn4.agent.life.organism import Learner, Organism
from snn4.agent.run import checkpoint
from snn4.agent.run.events import Began, Compared, Ended, Entered, Evaluated, Event, Learned, Noted, Saved, Score
from snn4.envs.labelled import Labelled, Part
from snn4.envs.world import World
from snn4.learners.algorithms import make_policy
from snn4.learners.classification import ClassificationLearner
from snn4.learners.not_finite import NotFinite
from snn4.learners.protection import Protection
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.acting.behaviour import Behaviour
from snn4.policies.allocation import keep_freed_memory
from snn4.policies.gene import genome
from snn4.policies.metering.meter import Meter

ORGANISM, ANN_TWIN = "organism", "ann_twin"


@dataclass
class Being:
    """Who lives: the organism, or its ANN twin, in a world of its own; ``scores`` once it has been tested."""

    name: str
    organism: Organism
    world: World[LifeTask]
    scores: dict[str, Score] = field(default_factory=dict)
    returns: list[dict[str, float]] = field(default_factory=list)
    """After each finished task: mean validation return in every task met so far, and in the next before it is lived."""
    newborn: dict[str, float] = field(default_factory=dict)
    """Mean validation return in tasks but the first of one who has learned nothing."""


class Life:
    """Everything a life consists of, and its checkpoints in ``folder``.

    Args:
        config: a checked config.
        folder: the run folder.
        stop: asked before every environment step; True ends the life after a checkpoint.
    """

    def __init__(self, config: LifeConfig, folder: Path, stop: Callable[[], bool] = lambda: False) -> None:
        self.config, self.folder, self.stop = config, folder, stop
        self.evaluator = Evaluator()
        policies = {ORGANISM: config.policy}
        if config.ann_twin:
            policies[ANN_TWIN] = dataclasses.replace(config.policy, kind="ann")
        self.beings = [
            Being(name, Organism(policy, Protection(config.protection)), World(config.world))
            for name, policy in policies.items()
        ]
        self.notes: list[str] = []
        self._interrupted_task: dict[str, Any] | None = None
        """Learner, and best snapshot so far, of the task in which the last checkpoint was written."""

    @property
    def age(self) -> int:
        """Environment steps that all beings have lived."""
        return sum(being.organism.age for being in self.beings)

    @property
    def finished(self) -> bool:
        """Whether all beings have lived to the end and were tested."""
        return all(being.scores for being in self.beings)

    def restore(self) -> str | None:
        """Go back to the newest sound checkpoint and name it; None, at birth, if none was ever written.

        What was wrong with newer ones becomes a note.

        Raises:
            checkpoint.Damaged: no checkpoint is sound.
        """
        found = checkpoint.newest(self.folder)
        if found is None:
            return None
        for being, state in zip(self.beings, found.model["beings"], strict=True):
            being.organism.load_state(state["organism"])
            being.world.position, being.scores = state["position"], state["scores"]
            being.returns, being.newborn = state.get("returns", []), state.get("newborn", {})  # 0.1 saved none
        self._interrupted_task, self.notes = found.learner["task"], found.notes
        return found.place

    def save(self, task: dict[str, Any] | None) -> Saved:
        """Write a checkpoint; ``task`` is what goes on inside the present one."""
        started = time.perf_counter()
        beings = [
            {
                "organism": b.organism.state(),
                "position": b.world.position,
                "scores": b.scores,
                "returns": b.returns,
                "newborn": b.newborn,
            }
            for b in self.beings
        ]
        folder, keep = self.folder / checkpoint.CHECKPOINTS, self.config.keep_checkpoints
        path = checkpoint.save(folder, {"beings": beings}, {"task": task}, dump(self.config), keep)
        seconds = time.perf_counter() - started
        return Saved(f"{checkpoint.CHECKPOINTS}/{path.name}", self.age, checkpoint.size(path), seconds)

    def learner(self, being: Being, task: LifeTask) -> tuple[Learner, dict[str, Any] | None]:
        """The learner for a task, going on where a checkpoint left it, and the best snapshot so far."""
        learner = self._newborn(being, task, _seed(self.config.seed, being.world.position, 0))
        left, self._interrupted_task = self._interrupted_task, None
        if left is not None:
            learner.load_state(left["learner"])
        else:
            being.organism.prepare(task.name, learner.policy)
            if (memory := being.organism.tasks.get(task.name)) is not None:
                learner.normalize_as(memory.normalization)
        stays = being.world.tasks[: being.world.position + 1]
        protection, met = being.organism.protection, {stay.name: stay for stay in stays}  # the latest of each name
        earlier = {name: self.policy(being, met[name]) for name in protection.earlier(task.name)}
        protection.guard(task.name, learner.policy, earlier)
        return learner, None if left is None else left["best"]

    def _newborn(self, being: Being, task: LifeTask, seed: int) -> Learner:
        config, policy = task.learner or self.config.learner, task.policy(being.organism.config)
        env = task.make(config.n_envs)
        if not isinstance(env, Labelled):
            return ReinforcementLearner(config, policy, env, task.steps, seed, self.config.device)
        set_random_seed(seed)
        made = make_policy(config, policy, env).to(self.config.device)
        return ClassificationLearner(task.recognition, made, env.samples, task.steps)

    def policy(self, being: Being, task: LifeTask) -> BasePolicy:
        """What ``being`` acts with in ``task`` now."""
        config, env = task.learner or self.config.learner, self.evaluator.environment(task, 1)
        return being.organism.prepare(task.name, make_policy(config, task.policy(being.organism.config), env))

    def finish(self, being: Being, task: LifeTask, best: dict[str, Any] | None) -> None:
        """End a task with what was ``best`` in it, and keep what protects it while later ones are learned."""
        if best is not None:
            being.organism.restore(task.name, best["snapshot"])
        being.returns = [*being.returns[: being.world.position], {} if best is None else best["returns"]]
        protection, policy, behaviour = being.organism.protection, self.policy(being, task), None
        if protection.config.measures:
            env = self.evaluator.environment(task, self.config.evaluation.episodes, "train")
            seed = _seed(self.config.seed, being.world.position, task.steps)
            seen = observe(policy, env, protection.config.samples, seed, being.organism.tasks[task.name].normalization)
            behaviour = Behaviour.of(policy, seen)
        protection.finish(task.name, policy, behaviour)

    def evaluate(self, being: Being, tasks: list[LifeTask], episodes: int, seed: int) -> dict[str, Score]:
        """Scores in each of ``tasks``, with the weights that ``being`` has now."""
        part: Part = "test" if seed == TEST_SEED else "validation"
        scores = {}
        for task in tasks:
            env, policy = self.evaluator.environment(task, episodes, part), self.policy(being, task)
            normalization = being.organism.tasks[task.name].normalization
            with self._naming(being, task):
                scores[task.label] = evaluate(policy, env, episodes, seed, normalization)
        return scores

    def test(self, being: Being, episodes: int) -> dict[str, Score]:
        """Test ``being`` in every task that it has met, and keep the rows of ``summary.json``."""
        scores = self.evaluate(being, being.world.seen, episodes, TEST_SEED)
        for task in being.world.seen:
            memory = being.organism.tasks[task.name]
            being.scores[task.label] = summary_row(scores[task.label], memory.env_steps, memory.seconds)
        return scores

    def look_ahead(self, being: Being, task: LifeTask, learner: Learner) -> None:
        """Test a task that was not met yet as it begins: what earlier ones have taught for it, and a newborn knows."""
        rows = being.returns
        if learner.step or not rows or task.label in rows[-1]:
            return
        newborn = self._newborn(being, task, _seed(self.config.seed, being.world.position, 0))
        returns = [self._score(being, task, own.policy, own.normalization()) for own in (learner, newborn)]
        newborn.close()
        rows[-1], being.newborn[task.label] = {**rows[-1], task.label: returns[0]}, returns[1]

    def _score(self, being: Being, task: LifeTask, policy: BasePolicy, normalization: dict[str, Any] | None) -> float:
        episodes = self.config.evaluation.episodes
        env = self.evaluator.environment(task, episodes)
        with self._naming(being, task):
            return float(evaluate(policy, env, episodes, VALIDATION_SEED, normalization)["return_mean"])

    @contextmanager
    def _naming(self, being: Being, task: LifeTask) -> Iterator[None]:
        """Where numbers stop being finite."""
        try:
            yield
        except NotFinite as error:
            where = f"{being.name}, task {task.label}, evaluation at step {being.organism.age}"
            raise NotFinite(f"{where}: {error}") from error

    def ann_energy(self, task: LifeTask) -> dict[str, float | None]:
        """Joules of a decision by an untrained ANN of the same widths: a mark to compare with from the start."""
        config, env = task.learner or self.config.learner, self.evaluator.environment(task, 1)
        policy = make_policy(config, task.policy(dataclasses.replace(self.config.policy, kind="ann")), env)
        env.seed(VALIDATION_SEED)
        with Meter(policy) as meter:
            policy.predict(env.reset(), deterministic=True)  # type: ignore[arg-type]
        return meter.cost().energy_joules

    def summary(self, commit_hash: str | None) -> dict[str, Any]:
        """``summary.json``."""
        scores = {being.name: being.scores for being in self.beings}
        return {
            "tasks": scores[ORGANISM],
            "ann_twin": scores.get(ANN_TWIN, {}),
            **({"retention": self.retention()} if len(self.config.world) > 1 else {}),
            "seed": self.config.seed,
            "commit_hash": commit_hash,
            "config": dataclasses.asdict(self.config),
        }

    def retention(self) -> dict[str, Any]:
        """What each being retained of its tasks after every one of them (`snn4.agent.evaluation.returns`)."""
        world, episodes = {task.label: task for task in self.config.world}, self.config.evaluation.episodes
        chance = {label: self.evaluator.chance(task, episodes) for label, task in world.items()}
        references = {task.label: task.reference for task in self.config.world if task.reference is not None}
        order = [task.label for task in self.config.world]
        return {
            being.name: {
                **retention(being.returns, order, chance, references, being.newborn),
                "memory_bytes": being.organism.protection.bytes, "replay_bytes": being.organism.protection.replay_bytes,
            }
            for being in self.beings
        }  # fmt: skip


def live(life: Life) -> Iterator[Event]:
    """The whole story: the organism lives through its world and is tested, then its ANN twin; both are compared."""
    torch.set_num_threads(life.config.threads)
    keep_freed_memory()
    yield _began(life)
    yield from (Noted(note) for note in life.notes)
    for being in life.beings:
        if not being.scores:
            yield from _live_through_world(life, being)
        if life.stop():
            yield Ended("interrupted", life.age)
            return
        if not being.scores:
            yield from _test(life, being)
    if life.config.ann_twin:
        yield Compared(*(being.scores for being in life.beings))
    yield Ended("finished", life.age)


def _live_through_world(life: Life, being: Being) -> Iterator[Event]:
    every = life.config.evaluation.every
    for task in being.world.remaining():
        learner, best = life.learner(being, task)
        life.look_ahead(being, task, learner)
        energy = life.ann_energy(task)
        yield Entered(being.name, task.label, being.world.position, learner.step, task.steps, energy)
        while learner.step < task.steps:
            until = min(task.steps, (learner.step // every + 1) * every)
            yield from _learn(life, being, task, learner, until)
            being.organism.remember(task.name, learner)
            if learner.step >= until or not life.stop():  # a whole stretch is not lived again: validate it now
                best, evaluated = _validate(life, being, task, best)
                yield evaluated
            yield life.save({"learner": learner.state(), "best": best})
            if life.stop():
                return
        learner.close()
        life.finish(being, task, best)


def _learn(life: Life, being: Being, task: LifeTask, learner: Learner, until: int) -> Iterator[Event]:
    number = being.world.position
    seed = _seed(life.config.seed, number, learner.step)
    learner.begin(seed)
    being.organism.protection.begin(seed)
    before = learner.step
    try:
        for p in learner.learn(until, life.stop):
            being.organism.spend(task.name, p.step - before, p.seconds)
            before = p.step
            yield Learned(
                being.name, task.label, number, p.step, task.steps, being.organism.age,
                p.episode_return, p.spike_rates, p.losses, p.seconds,
            )  # fmt: skip
    except NotFinite as error:
        raise NotFinite(f"{being.name}, task {number} ({task.label}), {error}") from error


def _validate(
    life: Life, being: Being, task: LifeTask, best: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, Evaluated]:
    started, config = time.perf_counter(), life.config.evaluation
    scores = life.evaluate(being, being.world.seen, config.episodes, VALIDATION_SEED)
    returns = {name: score["return_mean"] for name, score in scores.items()}
    reached = returns[task.label]
    better = best is None or reached >= best["return_mean"]
    if better:
        best = {"return_mean": reached, "returns": returns, "snapshot": being.organism.snapshot(task.name)}
    seconds = time.perf_counter() - started
    return best, Evaluated(being.name, task.label, being.organism.age, scores, better, seconds=seconds)


def _test(life: Life, being: Being) -> Iterator[Event]:
    started = time.perf_counter()
    scores = life.test(being, life.config.evaluation.test_episodes)
    task, age = being.world.tasks[-1].label, being.organism.age
    yield Evaluated(being.name, task, age, scores, final=True, seconds=time.perf_counter() - started)
    yield life.save(None)


def _began(life: Life) -> Began:
    tasks = [{"environment": task.label, "steps": task.steps} for task in life.config.world]
    names = [being.name for being in life.beings]
    return Began(life.config.name, life.config.seed, tasks, genome(life.config.policy), names, life.age, life.age > 0)


def _seed(life_seed: int, task: int, step: int) -> int:
    """A seed for the stretch of ``task`` that begins at ``step``; the twin draws the same, to live under equal luck."""
    return int(np.random.SeedSequence([life_seed, task, step]).generate_state(1)[0] >> 1)
