"""Hyperparameters that SB3 would refuse, or fail on later: the problems are reported before anything is built."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from gymnasium import spaces

from snn4.agent.config.mismatches import kinds, shown
from snn4.learners.algorithms import ALGORITHMS, CARRYING, Algorithm

MOST = 10**9
"""Largest whole number."""

Range = tuple[str, Callable[[Any], bool]]
"""Allowed values of the right type, in words and as a test."""

_WHOLE: Range = (f"a whole number from 1 to {MOST:,}", lambda x: 1 <= x <= MOST)
_NATURAL: Range = (f"a whole number from 0 to {MOST:,}", lambda x: 0 <= x <= MOST)
_OR_ALL: Range = (f"-1 or {_WHOLE[0]}", lambda x: x == -1 or 1 <= x <= MOST)
_FRACTION: Range = ("a number from 0 to 1", lambda x: 0 <= x <= 1)
_POSITIVE: Range = ("a finite number > 0", lambda x: 0 < x < math.inf)
_NOT_NEGATIVE: Range = ("a finite number >= 0", lambda x: 0 <= x < math.inf)
_FINITE: Range = ("a finite number", math.isfinite)
_RANGES: dict[str, Range] = {
    **dict.fromkeys(("n_steps", "batch_size", "n_epochs", "buffer_size"), _WHOLE),
    **dict.fromkeys(("target_update_interval", "policy_delay"), _WHOLE),
    "learning_starts": _NATURAL,
    **dict.fromkeys(("gradient_steps", "sde_sample_freq"), _OR_ALL),
    **dict.fromkeys(("gamma", "gae_lambda", "tau"), _FRACTION),
    **dict.fromkeys(("exploration_initial_eps", "exploration_final_eps"), _FRACTION),
    "exploration_fraction": ("a number above 0, up to 1", lambda x: 0 < x <= 1),
    **dict.fromkeys(("clip_range", "clip_range_vf", "max_grad_norm", "target_kl", "rms_prop_eps"), _POSITIVE),
    **dict.fromkeys(("learning_rate", "vf_coef", "target_policy_noise", "target_noise_clip"), _NOT_NEGATIVE),
}

_OURS = {"self", "policy", "env", "policy_kwargs", "seed", "device", "verbose", "tensorboard_log", "_init_setup_model",
         "monitor_wrapper", "supported_action_spaces", "action_noise", "stats_window_size"}  # fmt: skip
_BUFFER_KWARGS = {"rollout_buffer_kwargs": (), "replay_buffer_kwargs": ("handle_timeout_termination",)}
"""Arguments of buffers that SB3 does not set itself."""


def algorithm_of(learner: Mapping[str, Any], carry: bool = False) -> Algorithm | None:
    """The algorithm that a raw ``learner`` names, for ``state: carry`` with ``carry``; None for an unknown name."""
    name = str(learner.get("algorithm", "PPO"))
    return CARRYING.get(name, ALGORITHMS.get(name)) if carry else ALGORITHMS.get(name)


def unfit(learner: Mapping[str, Any], carry: bool = False) -> Iterator[str]:
    """Hyperparameters of a raw ``learner`` that are unknown to its algorithm or out of range, without their place."""
    algorithm, given = algorithm_of(learner, carry), learner.get("hyperparameters", {})
    if algorithm is None or not isinstance(given, dict):
        return
    parameters = inspect.signature(algorithm.sb3.__init__).parameters
    allowed = [name for name in parameters if name not in _OURS]
    problems = []
    for name, value in given.items():
        if name not in allowed:
            near = get_close_matches(str(name), allowed, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            problem = f"unknown to {algorithm.sb3.__name__}; {hint}Allowed are {', '.join(allowed)}"
            problems.append(f"{shown(name, str)}: {problem}")
        elif (wanted := _wanted(name, value, parameters[name].annotation)) is not None:
            problems.append(f"{name}: got {shown(value)}, allowed is {wanted}")
    chosen = {name: parameters[name].default for name in allowed} | given
    yield from problems or _contradictions(chosen, learner.get("n_envs", 1))


def unfit_spaces(learner: Mapping[str, Any], seen: spaces.Space[Any], actions: spaces.Space[Any]) -> Iterator[str]:
    """Keys of a raw ``learner`` that are not allowed in an environment with these spaces, and why."""
    given = learner.get("hyperparameters")
    if isinstance(given, dict) and given.get("use_sde") is True and not isinstance(actions, spaces.Box):
        yield f"hyperparameters.use_sde: not allowed with {type(actions).__name__} actions; set false"
    if learner.get("normalize") is True and not isinstance(seen, (spaces.Box, spaces.Dict)):
        yield f"normalize: not allowed with {type(seen).__name__} observations; set false"


def _contradictions(chosen: Mapping[str, Any], n_envs: Any) -> Iterator[str]:
    """Values that are allowed alone but not together."""
    if chosen.get("normalize_advantage") and isinstance(chosen.get("batch_size"), int):
        if chosen["batch_size"] < 2:
            yield f"batch_size: got {chosen['batch_size']}, allowed with normalize_advantage is a whole number >= 2"
        if chosen["n_steps"] == n_envs == 1:
            yield "n_steps: 1 is not allowed with n_envs: 1 and normalize_advantage; set n_steps >= 2"
    timeouts = (chosen.get("replay_buffer_kwargs") or {}).get("handle_timeout_termination", True)
    if chosen.get("optimize_memory_usage") and timeouts:
        remedy = "set false, or replay_buffer_kwargs: {handle_timeout_termination: false}"
        yield f"optimize_memory_usage: not allowed with handle_timeout_termination; {remedy}"


def _wanted(name: str, value: Any, hint: Any) -> str | None:
    """The allowed values, if ``value`` is not allowed; else None."""
    if not _fits(value, hint):
        return _written(hint)
    if name == "train_freq":
        return None if _is_frequency(value) else "a whole number >= 1, or [4, step], or [1, episode]"
    if isinstance(value, dict):
        allowed = _BUFFER_KWARGS.get(name, ())
        fits = all(key in allowed and isinstance(value[key], bool) for key in value)
        return None if fits else " and ".join([f"{key}: true or false" for key in allowed]) or "{}"
    if isinstance(value, str) and not value.startswith("lin_"):
        start = value.removeprefix("auto_") if name == "ent_coef" else value
        fits = value == "auto" or (start != value and _number(start) > 0)
        return None if fits else "a number or auto; ent_coef may be auto_<first value above 0>"
    if value is None or isinstance(value, (bool, list)):
        return None
    number = value if isinstance(value, (int, float)) else _number(value.removeprefix("lin_"))
    wanted, holds = _RANGES.get(name, _FINITE)
    return None if holds(number) else wanted


def _is_frequency(value: Any) -> bool:
    count, unit = value if isinstance(value, list) and len(value) == 2 else (value, "step")
    return type(count) is int and _WHOLE[1](count) and unit in ("step", "episode")


def _fits(value: Any, hint: Any) -> bool:
    for kind in kinds(hint):
        if _is_schedule(kind) and isinstance(value, str) and value.startswith("lin_"):
            return _number(value.removeprefix("lin_")) >= 0
        if kind is float and type(value) is int:
            return True
        if kind in (float, int, bool, str, type(None)) and type(value) is kind:
            return True
        if typing.get_origin(kind) in (tuple, list, dict) and isinstance(value, (list, dict)):
            return True
    return False


def _is_schedule(kind: Any) -> bool:
    return typing.get_origin(kind) is Callable


def _number(text: str) -> float:
    """The number in ``text``; else NaN, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _written(hint: Any) -> str:
    written = {type(None): "null", float: "float", int: "int", bool: "bool", str: "str"}
    names = ["lin_<value>" if _is_schedule(kind) else written.get(kind, "") for kind in kinds(hint)]
    return " or ".join(filter(None, names)) or "what SB3 documents"
