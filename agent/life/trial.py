"""The trial of a candidate: it inherits the organism's weights, lives in the present task for a while, is tested."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from stable_baselines3.common.policies import BasePolicy

from snn4.agent.evaluation.episodes import Evaluator, observe
from snn4.agent.evaluation.sampled import sampled
from snn4.agent.evolution.generation import Part, Result
from snn4.agent.evolution.objectives import OBJECTIVES, Fitness, Samples
from snn4.agent.life.being import Being
from snn4.agent.life.config import LifeConfig, LifeTask
from snn4.agent.life.organism import Organism, TaskMemory
from snn4.agent.run.beings import ORGANISM
from snn4.agent.run.events import Score
from snn4.learners.algorithms import make_policy
from snn4.learners.not_finite import NotFinite
from snn4.learners.policy_distillation import PolicyTeacherConfig
from snn4.learners.policy_teacher import PolicyTeacher, teacher_from
from snn4.policies.acting.activity import activity
from snn4.policies.gene import genome
from snn4.policies.inheritance import inherit, inheritance
from snn4.policies.sb3 import trunk_names

TRIAL_SEED = 3_000_000
"""Base seed of the episodes in which candidates are tested, each generation on others."""
FRESH = 5_000
"""Distance to the seeds of the episodes that confirm a choice, and half the distance between generations."""
BLOCKS = 4
"""Parts of the test episodes, each with its own costs per decision."""
OBSERVATIONS = 512
"""Observations on which the use of the parent's neurons is measured."""
WATCHED = 16
"""Copies of the environment in which the parent is watched for it."""
ROUNDS, EPOCHS = 4, 16
"""Rounds of lessons in a trial, and passes over the observations after each: steps are dearer than passes."""


@dataclass(frozen=True)
class Job:
    """A candidate, and the part of its trial that it shall live."""

    config: LifeConfig
    """The life's, with the candidate's genes."""
    parent: LifeConfig
    """The life's, with the organism's genes."""
    organism: dict[str, Any]
    """The organism's state as it fell asleep."""
    position: int
    """Number of the present task."""
    step: int
    """Steps of the task that the organism and the candidate have lived."""
    before: dict[str, Any] | None
    """The candidate's state after the part before; None: it inherits from the organism."""
    part: Part
    lessons: int
    """Steps of the task up to which the organism teaches."""
    generation: int


def lived(job: Job) -> Result:
    """Live the part of the trial in ``job``, and be tested in all tasks so far."""
    started = time.perf_counter()
    being, steps, state = _born(job), 0, job.before
    task = being.world.tasks[job.position]
    try:
        if job.part.steps:
            steps = _live(being, task, job)
            state = {"being": being.state(), "task": being.task_state()}
        fitness, silent = _tested(being, job)
    except NotFinite as error:
        return Result({}, steps, time.perf_counter() - started, None, f"exploded: {error}")
    if being.learner is not None:
        being.learner.close()
    failure = "silent: no neuron spikes" if silent else None
    return Result(fitness, steps, time.perf_counter() - started, copy.deepcopy(state), failure)


def _live(being: Being, task: LifeTask, job: Job) -> int:
    """Learn the steps of the part, and return their number."""
    for _ in being.take_up(task, lambda: False):
        pass
    assert being.learner is not None
    if job.before is None:
        being.learner.skip(job.step)
    before = being.learner.step
    for _ in being.learn(task, before + job.part.steps, lambda: False):
        pass
    return being.learner.step - before


def _born(job: Job) -> Being:
    """The candidate as a being of its own."""
    evaluator = _evaluator(job.config.evaluation.max_episode_steps)
    being = Being(ORGANISM, job.config, job.config.policy, evaluator, _Tutor(job))
    if job.before is not None:
        being.load_state(job.before["being"], job.before["task"])
        return being
    being.load_state({"organism": {**job.organism, "genes": {}}, "position": job.position, "scores": {}}, None)
    if genome(job.config.policy) != genome(job.parent.policy):
        _inherit(being, job)
    return being


@cache
def _evaluator(max_episode_steps: int | None) -> Evaluator:
    """Environments that all trials in this process share."""
    return Evaluator(max_episode_steps)


def _inherit(being: Being, job: Job) -> None:
    """Give ``being`` the organism's weights in the form that its genes need."""
    parent, seen = _parent(job), {task.name: task for task in being.world.seen}
    before = {name: _policy(job.parent, parent, task) for name, task in seen.items() if name in parent.tasks}
    after = {name: _policy(job.config, Organism(job.config.policy), seen[name]) for name in before}
    uses = []
    for name, policy in before.items():
        env = _evaluator(job.config.evaluation.max_episode_steps).environment(seen[name], WATCHED)
        normalization = parent.tasks[name].normalization
        uses.append(activity(policy, observe(policy, env, OBSERVATIONS, TRIAL_SEED + job.step, normalization)))
    plan = inheritance(list(before.values()), next(iter(after.values())), uses, job.config.seed)
    organism = being.organism
    for name, policy in after.items():
        inherit(policy, before[name], plan)
        parameters = {key: value.detach().clone() for key, value in policy.state_dict().items()}
        for shared, own in trunk_names(policy).items():
            organism.trunk[shared] = parameters.pop(own)
        memory = parent.tasks[name]
        organism.tasks[name] = TaskMemory(parameters, memory.normalization, memory.env_steps, memory.seconds)


def _parent(job: Job) -> Organism:
    organism = Organism(job.parent.policy)
    organism.load_state(job.organism)
    return organism


def _policy(config: LifeConfig, organism: Organism, task: LifeTask) -> BasePolicy:
    """The policy of ``organism`` in ``task``."""
    env = _evaluator(config.evaluation.max_episode_steps).environment(task, 1)
    policy = make_policy(config.learner_of(task), task.policy(config.policy), env)
    return organism.prepare(task.name, policy)


class _Tutor:
    """The organism, as it fell asleep, as the teacher of its candidates."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def of(self, task: LifeTask, being: str = ORGANISM) -> tuple[PolicyTeacherConfig, PolicyTeacher] | None:
        """Lessons and teacher; None if there are no lessons."""
        job = self.job
        if job.lessons <= job.step or task.data is not None:
            return None
        parent = _parent(job)
        env = _evaluator(job.config.evaluation.max_episode_steps).environment(task, 1)
        policy, normalization = _policy(job.parent, parent, task), parent.tasks[task.name].normalization
        teacher = teacher_from("the organism", policy, env.observation_space, normalization)
        evolution = job.config.evolution
        assert evolution is not None
        steps = round(evolution.lessons * evolution.trial)
        lessons = PolicyTeacherConfig(
            "the organism", steps=job.lessons, mix="pupil", round_steps=max(1, steps // ROUNDS), epochs=EPOCHS
        )
        return lessons, teacher


def _tested(being: Being, job: Job) -> tuple[Fitness, bool]:
    """Samples of the objectives in each task so far, and whether no neuron spikes in the present one."""
    seed = TRIAL_SEED + 2 * FRESH * job.generation + FRESH * job.part.fresh
    fitness: Fitness = {}
    silent = False
    for task in being.world.seen:
        blocks = 1 if task.data is not None else min(BLOCKS, job.part.episodes)
        scores, returns = [], []
        for block in range(blocks):
            env = being.evaluator.environment(task, -(-job.part.episodes // blocks))
            normalization = being.organism.tasks[task.name].normalization
            score, each = sampled(being.policy(task), env, env.num_envs, seed + 1000 * block, normalization)
            scores.append(score)
            returns += each
        fitness[task.label] = _samples(job.config, scores, returns)
        silent = not any(score["spikes_per_decision"] for score in scores)
    return fitness, silent


def _samples(config: LifeConfig, scores: list[Score], returns: list[float]) -> Samples:
    assert config.evolution is not None
    names = config.evolution.objectives
    costs = {name: [OBJECTIVES[name](score) for score in scores] for name in names if name != "return"}
    return {**costs, "return": returns}
