"""What a learner has gathered besides weights: the replay buffer and the running statistics, as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

_REPLAY_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def cut_last_episode(model: BaseAlgorithm) -> None:
    """Let the last episode in the replay buffer count as cut by a time limit, so that returns do not run on from it."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None and buffer.size():
        last = buffer.pos - 1
        going_on = buffer.dones[last] == 0
        buffer.dones[last][going_on] = 1.0
        if not buffer.optimize_memory_usage:  # which keeps no next observation whose value could be asked for
            buffer.timeouts[last][going_on] = 1.0


def replay_state(model: BaseAlgorithm) -> dict[str, Any] | None:
    """The filled part of the replay buffer; None for an algorithm without one."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return None
    # A buffer that keeps next observations among the observations has one more of them than transitions.
    filled = None if buffer.optimize_memory_usage else buffer.size()
    arrays = {name: getattr(buffer, name)[:filled] for name in _REPLAY_ARRAYS if hasattr(buffer, name)}
    return {"pos": buffer.pos, "full": buffer.full, **arrays}


def load_replay(model: BaseAlgorithm, state: dict[str, Any] | None) -> None:
    """Put `replay_state` back."""
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
    """Put `get_normalization`'s statistics into ``env``."""
    for name, stats in (("observation", env.obs_rms), ("return", env.ret_rms)):
        stats.mean, stats.var = np.asarray(state[name]["mean"]), np.asarray(state[name]["var"])  # type: ignore[union-attr]
        stats.count = state[name]["count"]  # type: ignore[union-attr]
