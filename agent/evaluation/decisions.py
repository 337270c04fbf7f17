"""The spikes of a policy in real decisions, for reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from snn4.agent.evaluation.episodes import normalized
from snn4.agent.evaluation.recorder import NoSpikes, Recorder

MOST_STEPS = 10_000


def decisions(
    policy: BasePolicy, env: VecEnv, seed: int, number: int, normalization: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Spikes in the first ``number`` decisions of the episodes with ``seed``, in one copy of the environment.

    Returns:
        Of each layer: ``name``, ``n_neurons``, and ``spikes``, a string of 0 and 1 for every inner step, with a digit
        for each recorded neuron. Empty for a policy whose spikes cannot be recorded.
    """
    try:
        recorder = Recorder(policy, MOST_STEPS)
    except NoSpikes:
        return []
    env = normalized(env, normalization)
    env.seed(seed)
    observation: Any = env.reset()
    state, start = None, np.ones(1, bool)
    with torch.random.fork_rng(), recorder:
        torch.manual_seed(seed)  # for codes with random spikes
        for _ in range(number):
            action, state = policy.predict(observation, state, start, deterministic=True)
            observation, _, start, _ = env.step(action)
    return [
        {
            "name": f"layer {place + 1}", "n_neurons": neurons,
            "spikes": ["".join("01"[int(spike)] for spike in step) for step in raster.T],
        }
        for place, (neurons, raster) in enumerate(zip(recorder.widths, recorder.rasters, strict=True))
    ]  # fmt: skip
