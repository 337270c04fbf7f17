"""The state of a learner besides weights, as plain data: replay buffer and running statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

_REPLAY_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def cut_last_episode(model: BaseAlgorithm) -> None:
    """Mark the last episode in the replay buffer as cut by a time limit, so that returns do not continue beyond it."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None and buffer.size():
        last = buffer.pos - 1
        unfinished = buffer.dones[last] == 0
        buffer.dones[last][unfinished] = 1.0
        if not buffer.optimize_memory_usage:  # otherwise there is no next observation to value
            buffer.timeouts[last][unfinished] = 1.0


def replay_state(model: BaseAlgorithm) -> dict[str, Any] | None:
    """The filled part of the replay buffer; None for an algorithm without one."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return None
    # With optimize_memory_usage, next observations are among the observations: one more than transitions.
    filled = None if buffer.optimize_memory_usage else buffer.size()
    arrays = {name: getattr(buffer, name)[:filled] for name in _REPLAY_ARRAYS if hasattr(buffer, name)}
    return {"pos": buffer.pos, "full": buffer.full, **arrays}


def load_replay(model: BaseAlgorithm, state: dict[str, Any] | None) -> None:
    """Restore `replay_state`."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None or state is None:
        return
    buffer.pos, buffer.full = state["pos"], state["full"]
    for name in _REPLAY_ARRAYS:
        if name in state:
            getattr(buffer, name)[: len(state[name])] = state[name]


def get_normalization(env: VecNormalize) -> dict[str, Any]:
    """Running mean, variance and count of observations and of discounted returns, float64 arrays."""
    stats: dict[str, Any] = {"observation": env.obs_rms, "return": env.ret_rms}
    return {
        n: {"mean": np.asarray(s.mean), "var": np.asarray(s.var), "count": float(s.count)} for n, s in stats.items()
    }  # type: ignore[union-attr]


def set_normalization(env: VecNormalize, state: dict[str, Any]) -> None:
    """Restore the statistics of `get_normalization` in ``env``."""
    for name, stats in (("observation", env.obs_rms), ("return", env.ret_rms)):
        stats.mean, stats.var = np.asarray(state[name]["mean"]), np.asarray(state[name]["var"])  # type: ignore[union-attr]
        stats.count = state[name]["count"]  # type: ignore[union-attr]
