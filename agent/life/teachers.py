"""The teachers of a life: agents that stable-baselines3 saved, and beings of finished lives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from snn4.agent.errors import BadInput, CannotGoOn
from snn4.agent.life.config import LifeConfig, LifeTask
from snn4.agent.life.lived import Lived, NotLived
from snn4.agent.run.beings import ANN_TWIN, ORGANISM, name_of
from snn4.learners.algorithms import make_policy
from snn4.learners.policy_distillation import PolicyTeacherConfig
from snn4.learners.policy_teacher import PolicyTeacher, misfit, teacher_from, teacher_in_zip, unfit_loss
from snn4.learners.sb3_zip import BadAgent


class Teaching(Protocol):
    """Who teaches the beings of a life."""

    def of(self, task: LifeTask, being: str = ORGANISM) -> tuple[PolicyTeacherConfig, PolicyTeacher] | None:
        """The teacher of ``being`` in ``task``, and its lessons; None without one."""


class Teachers:
    """The teacher of each task, loaded on first use and kept.

    Args:
        config: of the life of the pupils.
    """

    def __init__(self, config: LifeConfig) -> None:
        self.config = config
        self._loaded: dict[tuple[Any, ...], PolicyTeacher] = {}

    def of(self, task: LifeTask, being: str = ORGANISM) -> tuple[PolicyTeacherConfig, PolicyTeacher] | None:
        """The teacher of ``being`` in ``task``, and its lessons; None without one.

        Raises:
            BadInput, BadAgent, CannotGoOn: there is no such teacher, or it cannot be loaded.
        """
        lessons = self.config.teacher_of(task)
        if lessons is None or not (lessons.twins or being == ORGANISM):
            return None
        key = (lessons.source, lessons.being, lessons.task, task.name, task.environment)
        if key not in self._loaded:
            self._loaded[key] = load_teacher(lessons, task)
        return lessons, self._loaded[key]

    def problems(self) -> Iterator[str]:
        """What keeps the teachers from teaching, one line each."""
        told: set[str] = set()
        for number, task in enumerate(self.config.world):
            place = "teacher" if task.teacher is None else f"world.{number}.teacher"
            try:
                problem = self._problem(task)
            except (BadInput, BadAgent, CannotGoOn) as error:
                problem = " ".join(str(error).split())
            if problem is not None and f"{place}: {problem}" not in told:
                told.add(f"{place}: {problem}")
                yield f"{place}: {problem}"

    def _problem(self, task: LifeTask) -> str | None:
        found = self.of(task)
        if found is None:
            return None
        lessons, teacher = found
        env = task.make(1)
        env.close()
        if (problem := misfit(teacher, env.observation_space, env.action_space)) is not None:
            return f"{problem} in {task.environment}; give this task a teacher of its own in the world"
        return unfit_loss(lessons, self.config.learner_of(task).algorithm, teacher)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The SHA-256 of each teacher, by its source and the task."""
        taught = [task for task in self.config.world if self.config.teacher_of(task) is not None]
        found = {task.name: self.of(task) for task in taught}
        return {f"teacher of {name}": teacher[1].digest for name, teacher in found.items() if teacher is not None}


def load_teacher(lessons: PolicyTeacherConfig, task: LifeTask) -> PolicyTeacher:
    """The teacher in ``lessons.source`` for ``task``: an SB3 zip, or a being of the life in a run folder."""
    source = Path(lessons.source)
    if not source.exists():
        raise NotLived(f"source: got {lessons.source!r}, which is missing; allowed is a run folder or an SB3 .zip")
    if not source.is_dir():
        return teacher_in_zip(source)
    life = Lived.of(source)
    taught = _task_for(life, lessons, task)
    being = _being(life, lessons, taught)
    organism = life.organism(being)
    env = taught.make(1)
    policy = make_policy(life.config_of(being).learner_of(taught), taught.policy(organism.config), env)
    env.close()
    policy = organism.prepare(taught.name, policy)
    return teacher_from(str(source), policy, env.observation_space, organism.tasks[taught.name].normalization)


def _task_for(life: Lived, lessons: PolicyTeacherConfig, task: LifeTask) -> LifeTask:
    """The latest stay of the teacher's life in the task that it teaches."""
    acting = [past for past in life.config.world if past.data is None]
    wanted = lessons.task or task.name
    named = [past for past in acting if wanted in (past.name, past.label)]
    if not named and lessons.task is None:
        named = [past for past in acting if past.environment == task.environment]
    if not named:
        names = ", ".join(dict.fromkeys(past.name for past in acting))
        raise NotLived(f"task: got {wanted!r}, which {life.folder} has not learned; allowed are {names or 'none'}")
    return named[-1]


def _being(life: Lived, lessons: PolicyTeacherConfig, task: LifeTask) -> str:
    """The name of the teacher."""
    learned = [name for name, state in life.states.items() if task.name in state["tasks"]]
    chosen = lessons.being or (ANN_TWIN if ANN_TWIN in learned else ORGANISM)
    if chosen not in learned:
        others = ", ".join(learned) or "nobody yet"
        raise NotLived(f"being: got {chosen}, allowed is who has learned {task.name} in {life.folder}: {others}")
    return chosen


def taught_by(lessons: PolicyTeacherConfig) -> str:
    """The teacher in words."""
    who = "" if lessons.being is None else f"the {name_of(lessons.being)} of "
    return f"{who}{lessons.source}"
