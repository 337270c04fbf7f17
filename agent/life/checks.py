"""What the types of a config cannot tell: unknown environments and hyperparameters, actions nobody can take."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from stable_baselines3.common.policies import BasePolicy

from snn4.agent.config.fields import unusable
from snn4.envs.control import UnknownEnvironment, make_control
from snn4.envs.labelled import Labelled
from snn4.envs.variations import BadVariation, VariationConfig
from snn4.envs.world import TaskConfig
from snn4.learners.algorithms import ALGORITHMS, Algorithm, LearnerConfig, make_policy
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.sb3 import PolicyConfig


def impossibilities(raw: dict[str, Any]) -> Iterator[str]:
    """What types cannot tell: unknown environments and hyperparameters, actions that the algorithm cannot take."""
    common = raw.get("learner") if isinstance(raw.get("learner"), dict) else {}
    yield from _hyperparameters(common or {}, "learner")
    tasks = raw.get("world")
    for number, task in enumerate(tasks if isinstance(tasks, list) else []):
        if not isinstance(task, dict):
            continue
        own = task.get("learner") if isinstance(task.get("learner"), dict) else None
        if own is not None:
            yield from _hyperparameters(own, f"world.{number}.learner")
        yield from _environment(task, f"world.{number}", own or common or {})


def _environment(task: dict[str, Any], place: str, learner: dict[str, Any]) -> Iterator[str]:
    if task.get("data") is not None:
        return
    if not isinstance(task.get("environment"), str) or not isinstance(task.get("kwargs", {}), dict):
        return
    try:
        env = make_control(task["environment"], 1, task.get("kwargs", {}), _variation(task.get("variation")))
    except UnknownEnvironment as error:
        yield f"{place}.environment: {error}"
        return
    except BadVariation as error:
        yield f"{place}.variation.{error}"
        return
    algorithm = _algorithm(learner)
    if algorithm is not None and not isinstance(env.action_space, algorithm.actions):
        able = [n for n, a in ALGORITHMS.items() if isinstance(env.action_space, a.actions)]
        yield (
            f"{place}.environment: {task['environment']} has {type(env.action_space).__name__} actions, which "
            f"{learner.get('algorithm', 'PPO')} cannot take; allowed are {', '.join(able)}"
        )
    env.close()


def _variation(raw: Any) -> VariationConfig | None:
    """The variation in ``raw``; None where there is none, or one that the types have told of."""
    try:
        return VariationConfig(**raw) if isinstance(raw, dict) else None
    except (TypeError, ValueError):
        return None


_OURS = {"self", "policy", "env", "policy_kwargs", "seed", "device", "verbose", "tensorboard_log", "_init_setup_model",
         "monitor_wrapper", "supported_action_spaces", "action_noise", "stats_window_size"}  # fmt: skip


def _algorithm(learner: dict[str, Any]) -> Algorithm | None:
    return ALGORITHMS.get(str(learner.get("algorithm", "PPO")))


def _hyperparameters(learner: dict[str, Any], place: str) -> Iterator[str]:
    algorithm, given = _algorithm(learner), learner.get("hyperparameters", {})
    if algorithm is None or not isinstance(given, dict):
        return
    parameters = inspect.signature(algorithm.sb3.__init__).parameters
    allowed = [name for name in parameters if name not in _OURS]
    for name, value in given.items():
        key = f"{place}.hyperparameters.{name}"
        if name not in allowed:
            near = get_close_matches(str(name), allowed, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            yield f"{key}: unknown to {algorithm.sb3.__name__}; {hint}Allowed are {', '.join(allowed)}"
        elif not _fits(value, parameters[name].annotation):
            yield f"{key}: got {value!r}, allowed is {_name(parameters[name].annotation)}"


def _kinds(hint: Any) -> tuple[Any, ...]:
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return typing.get_args(hint) if union else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    for kind in _kinds(hint):
        if _is_schedule(kind) and isinstance(value, str) and value.startswith("lin_"):
            return _number(value.removeprefix("lin_"))
        if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return True
        if kind in (int, bool, str) and type(value) is kind:
            return True
        if kind is type(None) and value is None:
            return True
        if typing.get_origin(kind) in (tuple, list, dict) and isinstance(value, (list, dict)):
            return True
    return False


def _is_schedule(kind: Any) -> bool:
    return typing.get_origin(kind) is Callable


def _number(text: str) -> bool:
    try:
        return float(text) >= 0
    except ValueError:
        return False


def _name(hint: Any) -> str:
    written = {type(None): "null", float: "float", int: "int", bool: "bool", str: "str"}
    names = ["lin_<value>" if _is_schedule(kind) else written.get(kind, "") for kind in _kinds(hint)]
    return " or ".join(filter(None, names)) or "what SB3 documents"


def unbuildable(
    world: Sequence[TaskConfig], learners: Sequence[LearnerConfig], policies: Sequence[PolicyConfig], device: str,
    images: bool = False,
) -> Iterator[str]:  # fmt: skip
    """What SB3 and torch refuse when a life's learners are made, which is found out by making them.

    Also tasks of one name that could not have encoder and head in common. Images are read with ``images`` alone: a plan
    can be looked at where they are not.
    """
    if problem := unusable(device):
        yield problem
        return
    made: list[Any] = []
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for number, parts in enumerate(zip(world, learners, policies, strict=True)):
        task, learner, policy = parts
        if parts in made or (task.data is not None and not images):  # the first: a task that comes back
            continue
        made.append(parts)
        try:
            built = _acting(task, learner, policy, device)
        except Exception as error:  # anything: each library has its own
            said = " ".join(str(error).split())
            how = "" if task.data is not None else f" with {learner.algorithm}"
            yield f"world.{number}: {task.environment}{how} cannot be built: {said}"
            continue
        mine = {name: tuple(value.shape) for name, value in built.state_dict().items()}
        if shapes.setdefault(task.name, mine) != mine:
            yield (
                f"world.{number}.name: got {task.name!r}, of which an earlier task has other observations, actions or "
                f"learner; allowed is a name of its own"
            )


def _acting(task: TaskConfig, learner: LearnerConfig, policy: PolicyConfig, device: str) -> BasePolicy:
    """The policy that a life would begin ``task`` with."""
    env = task.make(learner.n_envs)
    if isinstance(env, Labelled):
        return make_policy(learner, policy, env)
    built = ReinforcementLearner(learner, policy, env, task.steps, seed=0, device=device)
    built.close()
    return built.policy


def contradictions(world: Sequence[Any]) -> Iterator[str]:
    """Stays in one and the same place (`TaskConfig.label`) with other references."""
    known: dict[str, float] = {}
    for number, task in enumerate(world):
        if task.reference is not None and known.setdefault(task.label, task.reference) != task.reference:
            yield (
                f"world.{number}.reference: got {task.reference:g}, allowed is {known[task.label]:g} as at an earlier "
                f"stay in {task.label}, or null"
            )
