"""Quick tests of a policy: it acts at full speed, and its costs are measured afterwards, on a sample of its decisions.

A meter in the midst of episodes slows a small policy down several times, because it looks at every layer of every
decision.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from snn4.agent.evaluation.episodes import normalized, play
from snn4.agent.run.events import Score
from snn4.envs.labelled import Labelled
from snn4.learners.generators import result_of
from snn4.policies.metering.meter import Meter

MOST = 1_000
"""Decisions in the sample."""


def sampled(
    policy: BasePolicy, env: VecEnv, episodes: int, seed: int, normalization: dict[str, Any] | None = None
) -> tuple[Score, list[float]]:
    """The score of ``episodes``, with costs of a sample, and the return of each episode.

    ``seed`` and ``env`` determine the order of the returns, so those of two policies are pairs. Costs of policies with
    a memory (state: carry) are those of one decision from rest on each observation.

    Raises:
        NotFinite: an observation is NaN or infinite.
    """
    env = normalized(env, normalization)
    env.seed(seed)
    watched = _Watched(policy)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # for codes with random spikes
        number = len(env.samples) if isinstance(env, Labelled) else episodes
        played = result_of(play(watched, env, number, lambda: False))
        with Meter(policy) as meter:
            policy.predict(watched.sample(seed), deterministic=True)
    returns = [episode.episode_return for episode in sorted(played, key=lambda episode: episode.copy)]
    cost = {name: value for name, value in asdict(meter.cost()).items() if name != "layers"}
    return {"return_mean": float(np.mean(returns)), "return_std": float(np.std(returns)), **cost}, returns


class _Watched:
    """A policy, and the observations on which it has decided."""

    def __init__(self, policy: BasePolicy) -> None:
        self.policy = policy
        self.seen: list[Any] = []

    def predict(self, observation: Any, *arguments: Any, **settings: Any) -> Any:
        """As the policy's."""
        self.seen.append(observation)
        return self.policy.predict(observation, *arguments, **settings)

    def sample(self, seed: int) -> Any:
        """Observations, at most `MOST`, drawn with ``seed`` if there are more."""
        if isinstance(self.seen[0], dict):
            return {key: _drawn([seen[key] for seen in self.seen], seed) for key in self.seen[0]}
        return _drawn(self.seen, seed)


def _drawn(parts: list[NDArray[Any]], seed: int) -> NDArray[Any]:
    whole = np.concatenate(parts)
    if len(whole) <= MOST:
        return whole
    return whole[np.sort(np.random.default_rng(seed).choice(len(whole), MOST, replace=False))]
