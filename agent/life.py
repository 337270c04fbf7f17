"""The life of an organism: a generator of events, from the first task to the comparison with its ANN twin."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snn4.agent import checkpoint
from snn4.agent.config import LifeTask, RunConfig, dump
from snn4.agent.evaluation import TEST_SEED, VALIDATION_SEED, Evaluator, evaluate, summary_row
from snn4.agent.events import Began, Compared, Ended, Entered, Evaluated, Event, Learned, Noted, Saved, Score
from snn4.agent.organism import Organism
from snn4.envs.control import make_control
from snn4.envs.world import World
from snn4.learners.algorithms import make_policy
from snn4.learners.finite import NotFinite
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.allocation import keep_freed_memory
from snn4.policies.gene import genome
from snn4.policies.metering import Meter

ORGANISM, ANN_TWIN = "organism", "ann_twin"
CHECKPOINTS = "checkpoints"


@dataclass
class Being:
    """Who lives: the organism, or its ANN twin, in a world of its own; ``scores`` once it has been tested."""

    name: str
    organism: Organism
    world: World[LifeTask]
    scores: dict[str, Score] = field(default_factory=dict)


class Life:
    """Everything a life consists of, and its checkpoints in ``folder``.

    Args:
        config: a checked config.
        folder: the run folder.
        stop: asked before every environment step; True ends the life after a checkpoint.
    """

    def __init__(self, config: RunConfig, folder: Path, stop: Callable[[], bool] = lambda: False) -> None:
        self.config, self.folder, self.stop = config, folder, stop
        self.evaluator = Evaluator()
        policies = {ORGANISM: config.policy}
        if config.ann_twin:
            policies[ANN_TWIN] = dataclasses.replace(config.policy, kind="ann")
        self.beings = [Being(name, Organism(policy), World(config.world)) for name, policy in policies.items()]
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
        found = checkpoint.load(self.folder / CHECKPOINTS)
        if found is None:
            return None
        path, model, learner, problems = found
        for being, state in zip(self.beings, model["beings"], strict=True):
            being.organism.load_state(state["organism"])
            being.world.position, being.scores = state["position"], state["scores"]
        self._interrupted_task = learner["task"]
        self.notes = [f"{problem}; {path.name}, the one before it, is used" for problem in problems]
        return f"{CHECKPOINTS}/{path.name}"

    def save(self, task: dict[str, Any] | None) -> Saved:
        """Write a checkpoint; ``task`` is what goes on inside the present one."""
        started = time.perf_counter()
        beings = [
            {"organism": b.organism.state(), "position": b.world.position, "scores": b.scores} for b in self.beings
        ]
        folder, keep = self.folder / CHECKPOINTS, self.config.keep_checkpoints
        path = checkpoint.save(folder, {"beings": beings}, {"task": task}, dump(self.config), keep)
        seconds = time.perf_counter() - started
        return Saved(f"{CHECKPOINTS}/{path.name}", self.age, checkpoint.size(path), seconds)

    def learner(self, being: Being, task: LifeTask) -> tuple[ReinforcementLearner, dict[str, Any] | None]:
        """The learner for a task, going on where a checkpoint left it, and the best snapshot so far."""
        config = task.learner or self.config.learner
        env = make_control(task.environment, config.n_envs, task.kwargs)
        seed = _seed(self.config.seed, being.world.position, 0)
        learner = ReinforcementLearner(config, being.organism.config, env, task.steps, seed, self.config.device)
        left, self._interrupted_task = self._interrupted_task, None
        if left is not None:
            learner.load_state(left["learner"])
            return learner, left["best"]
        being.organism.prepare(task.environment, learner.model.policy)
        if (memory := being.organism.tasks.get(task.environment)) is not None:
            learner.normalize_as(memory.normalization)
        return learner, None

    def evaluate(self, being: Being, tasks: list[LifeTask], episodes: int, seed: int) -> dict[str, Score]:
        """Scores in each of ``tasks``' environments, with the weights that ``being`` has now."""
        scores = {}
        for task in tasks:
            config, env = task.learner or self.config.learner, self.evaluator.environment(task, episodes)
            policy = being.organism.prepare(task.environment, make_policy(config, being.organism.config, env))
            memory = being.organism.tasks[task.environment]
            try:
                scores[task.environment] = evaluate(policy, env, episodes, seed, memory.normalization)
            except NotFinite as error:
                where = f"{being.name}, task {task.environment}, evaluation at step {being.organism.age}"
                raise NotFinite(f"{where}: {error}") from error
        return scores

    def test(self, being: Being, episodes: int) -> dict[str, Score]:
        """Test ``being`` in every environment that it has met, and keep the rows of ``summary.json``."""
        scores = self.evaluate(being, being.world.seen, episodes, TEST_SEED)
        for name, score in scores.items():
            memory = being.organism.tasks[name]
            being.scores[name] = summary_row(score, memory.env_steps, memory.seconds)
        return scores

    def ann_energy(self, task: LifeTask) -> dict[str, float | None]:
        """Joules of a decision by an untrained ANN of the same widths: a mark to compare with from the start."""
        config, env = task.learner or self.config.learner, self.evaluator.environment(task, 1)
        policy = make_policy(config, dataclasses.replace(self.config.policy, kind="ann"), env)
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
            "seed": self.config.seed,
            "commit_hash": commit_hash,
            "config": dataclasses.asdict(self.config),
        }


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
    for task in being.world.remaining():
        learner, best = life.learner(being, task)
        energy = life.ann_energy(task)
        yield Entered(being.name, task.environment, being.world.position, learner.step, task.steps, energy)
        while learner.step < task.steps:
            yield from _learn(life, being, task, learner)
            being.organism.remember(task.environment, learner)
            if not life.stop():
                best, evaluated = _validate(life, being, task, best)
                yield evaluated
            yield life.save({"learner": learner.state(), "best": best})
            if life.stop():
                return
        learner.close()
        if best is not None:
            being.organism.restore(task.environment, best["snapshot"])


def _learn(life: Life, being: Being, task: LifeTask, learner: ReinforcementLearner) -> Iterator[Event]:
    number, every = being.world.position, life.config.evaluation.every
    until = min(task.steps, (learner.step // every + 1) * every)
    learner.begin(_seed(life.config.seed, number, learner.step))
    before = learner.step
    try:
        for p in learner.learn(until, life.stop):
            being.organism.spend(task.environment, p.step - before, p.seconds)
            before = p.step
            yield Learned(
                being.name, task.environment, number, p.step, task.steps, being.organism.age,
                p.episode_return, p.spike_rates, p.losses, p.seconds,
            )  # fmt: skip
    except NotFinite as error:
        raise NotFinite(f"{being.name}, task {number} ({task.environment}), {error}") from error


def _validate(
    life: Life, being: Being, task: LifeTask, best: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, Evaluated]:
    started, config = time.perf_counter(), life.config.evaluation
    scores = life.evaluate(being, being.world.seen, config.episodes, VALIDATION_SEED)
    reached = scores[task.environment]["return_mean"]
    better = best is None or reached >= best["return_mean"]
    if better:
        best = {"return_mean": reached, "snapshot": being.organism.snapshot(task.environment)}
    seconds = time.perf_counter() - started
    return best, Evaluated(being.name, task.environment, being.organism.age, scores, better, seconds=seconds)


def _test(life: Life, being: Being) -> Iterator[Event]:
    started = time.perf_counter()
    scores = life.test(being, life.config.evaluation.test_episodes)
    task, age = being.world.tasks[-1].environment, being.organism.age
    yield Evaluated(being.name, task, age, scores, final=True, seconds=time.perf_counter() - started)
    yield life.save(None)


def _began(life: Life) -> Began:
    tasks = [{"environment": task.environment, "steps": task.steps} for task in life.config.world]
    names = [being.name for being in life.beings]
    return Began(life.config.name, life.config.seed, tasks, genome(life.config.policy), names, life.age, life.age > 0)


def _seed(life_seed: int, task: int, step: int) -> int:
    """A seed for the stretch of ``task`` that begins at ``step``; the twin draws the same, to live under equal luck."""
    return int(np.random.SeedSequence([life_seed, task, step]).generate_state(1)[0] >> 1)
