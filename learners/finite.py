"""NaN and infinity, found where they first show and named."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm


class NotFinite(RuntimeError):
    """A NaN or infinity appeared where learning cannot go on."""


def check_model(model: BaseAlgorithm) -> None:
    """Raise NotFinite, naming it, if a loss or a parameter is not finite."""
    for name, value in model.logger.name_to_value.items():
        if name.startswith("train/") and "loss" in name and not np.isfinite(value):
            raise NotFinite(f"step {model.num_timesteps}: {name} is {value}")
    for name, parameter in model.policy.named_parameters():
        if not torch.isfinite(parameter).all():
            raise NotFinite(f"step {model.num_timesteps}: parameter {name} of the policy holds NaN or infinity")


def require_finite(name: str, values: np.ndarray[Any, Any]) -> None:
    """Raise NotFinite, naming the place, if ``values`` (environments, …) hold NaN or infinity."""
    if not np.isfinite(values).all():
        index = np.argwhere(~np.isfinite(values))[0].tolist()
        raise NotFinite(f"{name} holds {values[tuple(index)]} (environment {index[0]}, index {index[1:]})")
