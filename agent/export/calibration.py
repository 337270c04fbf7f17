"""Typical inputs of a trained network: those that set the scales of integers, and those that go into bundles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snn4.agent.evaluation.episodes import VALIDATION_SEED, Evaluator, observe
from snn4.agent.export.source import PolicySource, Source
from snn4.envs.data.datasets import load_data

OBSERVATIONS, IMAGES = 500, 200
_COPIES = 25


def typical_inputs(source: Source) -> NDArray[np.float32]:
    """Inputs (B, …) as the network sees them: observations from episodes with drawn actions, or training images.

    The same source gives the same inputs.
    """
    if isinstance(source, PolicySource):
        env = Evaluator().environment(source.task, _COPIES)
        seen = observe(source.policy, env, OBSERVATIONS, VALIDATION_SEED, source.normalization)
        return seen.flatten(1).float().cpu().numpy()  # type: ignore[no-any-return]
    described = source.description
    data = load_data(replace(source.data, mean=described.mean, std=described.std, augmentation="none"))
    images, _ = next(iter(data.train.batches(IMAGES, shuffle_seed=0, epoch=0, augment=False)))
    return images.numpy()  # type: ignore[no-any-return]
