"""Checks of a life beyond types: unknown environments and hyperparameters, actions that an algorithm cannot take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_obs_shape

from snn4.agent.config.fields import unusable
from snn4.agent.config.mismatches import built, mismatches
from snn4.agent.life.hyperparameters import algorithm_of, unfit, unfit_spaces
from snn4.agent.life.outline import Outline, outline
from snn4.envs.control import UnknownEnvironment, make_control
from snn4.envs.variations import BadVariation, VariationConfig
from snn4.envs.world import TaskConfig
from snn4.learners.algorithms import ALGORITHMS, LearnerConfig
from snn4.policies.sb3 import PolicyConfig

TASKS, PARAMETERS = 1_000, 10**9
"""Largest number of tasks in a life, with all rounds, and of parameters in a policy."""


def too_many_tasks(raw: dict[str, Any]) -> Iterator[str]:
    """The problem of a world with too many tasks; its ``rounds`` are counted before any task is repeated."""
    tasks = _count(raw) if is_group(raw) else 0
    if tasks > TASKS:
        yield f"world: got {tasks:,} tasks with all rounds, allowed are up to {TASKS:,}"


def is_group(entry: Any) -> bool:
    """Whether a raw ``entry`` has tasks of its own, as a life and a group of tasks have."""
    return isinstance(entry, dict) and isinstance(entry.get("world"), list)


def _count(group: dict[str, Any]) -> int:
    rounds, entries = group.get("rounds", 1), group["world"]
    groups = list(filter(is_group, entries))
    return (rounds if type(rounds) is int else 1) * (len(entries) - len(groups) + sum(map(_count, groups)))


def impossibilities(raw: dict[str, Any]) -> Iterator[str]:
    """Unknown environments and hyperparameters, and actions that the algorithm cannot take."""
    common = _mapping(raw, "learner")
    tasks = raw.get("world")
    carry = _mapping(raw, "policy").get("state") == "carry"
    yield from (f"learner.hyperparameters.{problem}" for problem in unfit(common, carry))
    seen: set[str] = set()
    for number, task in enumerate(tasks if isinstance(tasks, list) else []):
        if not isinstance(task, dict):
            continue
        own = _mapping(task, "learner")
        yield from (f"world.{number}.learner.hyperparameters.{problem}" for problem in unfit(own, carry))
        has_own = isinstance(task.get("learner"), dict)
        learner, where = (own, f"world.{number}.learner") if has_own else (common, "learner")
        same = repr([task.get(key) for key in ("data", "environment", "kwargs", "variation")] + [learner])
        if same not in seen and task.get("data") is None:
            seen.add(same)
            yield from _environment(task, f"world.{number}", learner, where)


def _mapping(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _environment(task: dict[str, Any], place: str, learner: dict[str, Any], where: str) -> Iterator[str]:
    kwargs = task.get("kwargs", {})
    if not isinstance(task.get("environment"), str) or not isinstance(kwargs, dict):
        return
    try:
        env = make_control(task["environment"], 1, kwargs, _variation(task.get("variation")))
    except UnknownEnvironment as error:
        yield f"{place}.environment: {error}"
        return
    except BadVariation as error:
        yield f"{place}.variation.{error}"
        return
    env.close()
    yield from (f"{where}.{problem}" for problem in unfit_spaces(learner, env.observation_space, env.action_space))
    yield from (
        f"{place}.environment: {task['environment']} has {problem}" for problem in _acting(env.action_space, learner)
    )


def _acting(actions: spaces.Space[Any], learner: dict[str, Any]) -> Iterator[str]:
    algorithm = algorithm_of(learner)
    if algorithm is not None and not isinstance(actions, algorithm.actions):
        able = [name for name, other in ALGORITHMS.items() if isinstance(actions, other.actions)]
        yield (
            f"{type(actions).__name__} actions, which {learner.get('algorithm', 'PPO')} does not support; allowed are "
            f"{', '.join(able) or 'environments with other actions'}"
        )
    elif isinstance(actions, spaces.Box) and not np.isfinite([actions.low, actions.high]).all():
        yield "actions without bounds, which SB3 does not support; allowed are finite bounds"


def _variation(raw: Any) -> VariationConfig | None:
    """The variation in ``raw``; None if there is none, or if its types are wrong, which `mismatches` reports."""
    if not isinstance(raw, dict) or mismatches(raw, VariationConfig):
        return None
    return built(raw, VariationConfig)  # type: ignore[no-any-return]


def unbuildable(
    world: Sequence[TaskConfig], learners: Sequence[LearnerConfig], policies: Sequence[PolicyConfig], device: str,
    images: bool = False,
) -> Iterator[str]:  # fmt: skip
    """Policies that SB3 and torch refuse to build, found by their `outline`.

    Also tasks of the same name that cannot share encoder and head. Images are only read with ``images``, so that a plan
    can be shown without them.
    """
    if problem := unusable(device):
        yield problem
        return
    outlines: dict[str, Outline | None] = {}
    firsts: dict[str, Outline] = {}
    for number, (task, learner, policy) in enumerate(zip(world, learners, policies, strict=True)):
        if task.data is not None and not images:
            continue
        same = repr((task.environment, task.kwargs, task.variation, task.data, learner, policy))
        if same not in outlines:
            outlines[same] = None
            try:
                outlines[same] = _outline(task, learner, policy)
            except Exception as error:  # every library raises its own
                message = " ".join(str(error).split()) or repr(error)
                how = "" if task.data is not None else f" with {learner.algorithm}"
                yield f"world.{number}: {task.environment}{how} cannot be built: {message}"
        shapes = outlines[same]
        if shapes is not None and firsts.setdefault(task.name, shapes) != shapes:
            yield (
                f"world.{number}.name: got {task.name!r}, the name of an earlier task with other observations, actions "
                f"or learner; allowed is a new name"
            )


def _outline(task: TaskConfig, learner: LearnerConfig, policy: PolicyConfig) -> Outline:
    env = task.make(1)
    get_obs_shape(env.observation_space)  # SB3's buffers support fewer spaces than its policies
    shapes = outline(learner, policy, env)
    env.close()
    parameters = sum(math.prod(shape) for shape in shapes.values())
    if parameters > PARAMETERS:
        raise ValueError(f"its policy has {parameters:,} parameters, allowed are up to {PARAMETERS:,}")
    return shapes


def contradictions(world: Sequence[Any]) -> Iterator[str]:
    """Tasks of the same `TaskConfig.label` with different references."""
    known: dict[str, float] = {}
    for number, task in enumerate(world):
        if task.reference is not None and known.setdefault(task.label, task.reference) != task.reference:
            yield (
                f"world.{number}.reference: got {task.reference:g}, allowed is {known[task.label]:g} as in an earlier "
                f"task {task.label}, or null"
            )
