"""Inputs that a network has in its task or data set: what an exported network can be tried on, without its source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecNormalize

from snn4.agent.evaluation.episodes import VALIDATION_SEED, normalized
from snn4.agent.evaluation.shown import InOrder
from snn4.agent.export.source import ClassifierSource, PolicySource, Source
from snn4.envs.data.datasets import load_data

Floats = NDArray[np.float32]


def examples(source: Source, n: int) -> tuple[Floats, Floats]:
    """``n`` inputs: as the environment or the data set gives them, and as the network sees them; each (n, …).

    Of a policy, they are the observations of ``n`` steps of validation episodes; of a classifier, images in 0 to 1 of
    the validation data.
    """
    return _observations(source, n) if isinstance(source, PolicySource) else _images(source, n)


def _observations(source: PolicySource, n: int) -> tuple[Floats, Floats]:
    env = normalized(source.task.make(1), source.normalization)
    env.seed(VALIDATION_SEED)
    given, seen = [], []
    observation: Any = env.reset()
    for _ in range(n):
        given.append(env.get_original_obs() if isinstance(env, VecNormalize) else observation)
        seen.append(observation)
        action, _ = source.policy.predict(observation, deterministic=True)
        observation, *_ = env.step(action)
    env.close()
    return tuple(np.concatenate(x).astype(np.float32).reshape(n, -1) for x in (given, seen))  # type: ignore[return-value]


def _images(source: ClassifierSource, n: int) -> tuple[Floats, Floats]:
    data = load_data(source.data)
    seen = next(iter(InOrder(data.validation, n)))[0].numpy()
    if source.description.mean is None:
        return seen, seen
    mean, std = (np.array(x, np.float32).reshape(-1, 1, 1) for x in (source.description.mean, source.description.std))
    return seen * std + mean, seen
