"""The integers of a run's network on Loihi: calibrated on what it meets, or a line with the command that helps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from snn4.agent.evaluation.episodes import VALIDATION_SEED, Evaluator, observe
from snn4.agent.export.source import ClassifierSource, PolicySource, Source
from snn4.agent.life.initial import LIFE
from snn4.agent.models.files import ModelError, read_about
from snn4.agent.models.other_data import read_for
from snn4.envs.data.datasets import Data
from snn4.policies.export.description import NotExportable
from snn4.policies.export.integer_network import IntegerNetwork
from snn4.policies.export.loihi import integer_network, require_loihi

OBSERVATIONS = 500
IMAGES = 64
"""Inputs of a calibration; images are more, since a batch of them has many pixels."""


def integers_of(source: Source, bits: int = 8, evaluator: Evaluator | None = None) -> IntegerNetwork:
    """The network of ``source`` in Loihi's integers, calibrated on validation episodes or training images.

    Args:
        evaluator: environments that are there already.

    Raises:
        ModelError: the chip cannot compute it; for neurons of another kind, with the command that finetunes them.
    """
    try:
        require_loihi(source.description)
    except NotExportable as error:
        raise ModelError(f"{source.folder}: {error}; {_finetuning(source)}") from error
    try:
        return integer_network(source.description, calibration(source, evaluator), bits)
    except NotExportable as error:
        raise ModelError(f"{source.folder}: {error}") from error


def _finetuning(source: Source) -> str:
    """How to train the network of ``source`` on, with Loihi's neurons."""
    place, start = f"{source.folder}/config.yaml", f"initial={source.folder}"
    if isinstance(source, PolicySource):
        if (source.folder / LIFE).is_file():
            return "before its compression: train its life on, and compress that"
        return f"from these weights: snn4-agent run {place} policy.neuron=loihi policy.{start}"
    config = place if source.trained else f"CONFIG (a training on {source.data.name})"
    return f"from these weights: snn4-agent run {config} network.neuron=loihi {start}"


def calibration(source: Source, evaluator: Evaluator | None = None) -> NDArray[np.float32]:
    """Typical inputs (B, …) of the network: observations as it sees them, or normalised images."""
    if isinstance(source, PolicySource):
        env = (evaluator or Evaluator()).environment(source.task, 10)
        seen = observe(source.policy, env, OBSERVATIONS, VALIDATION_SEED, source.normalization)
        return features(source.policy, seen.numpy())
    images, _ = next(data_of(source).train.batches(IMAGES, shuffle_seed=0, augment=False))
    return require_images(source, images.numpy())


def features(policy: BasePolicy, observation: NDArray[Any]) -> NDArray[np.float32]:
    """The values (B, n) that the code of ``policy`` receives for observations (B, …)."""
    tensor, _ = policy.obs_to_tensor(observation)
    extractor = policy.acting_layers().extractor  # type: ignore[operator, union-attr]
    return policy.extract_features(tensor, extractor).float().cpu().numpy()  # type: ignore[arg-type, no-any-return]


def data_of(source: ClassifierSource) -> Data:
    """The data of a classifier, in the scale in which it has learned them."""
    path = source.folder / "model.safetensors"
    return read_for(path, read_about(path), source.data, source.name)


def require_images(source: ClassifierSource, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images ``x``; ModelError for events, whose current changes from step to step."""
    if x.ndim != 4:
        raise ModelError(f"{source.folder}: got events, allowed are images, whose current is the same at every step")
    return x
