"""Checks that report NaN and infinity where they first appear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


class NotFinite(RuntimeError):
    """NaN or infinity appeared; learning cannot continue."""

    exit_status = 1  # of the command line


def check_model(model: BaseAlgorithm) -> None:
    """Raise NotFinite if a loss or a weight is not finite, with its name."""
    for name, value in model.logger.name_to_value.items():
        if name.startswith("train/") and "loss" in name and not np.isfinite(value):
            raise NotFinite(f"step {model.num_timesteps}: {name} is {value}")
    check_network(model.policy, f"step {model.num_timesteps}: policy")


def check_network(network: nn.Module, where: str) -> None:
    """Raise NotFinite if a weight is not finite, with its name.

    Neurons with NaN inputs are silent, so that the loss may stay finite.
    """
    for name, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise NotFinite(f"{where}: {name} holds NaN or infinity; try a smaller learning rate, or clip gradients")


def require_finite(name: str, values: np.ndarray[Any, Any]) -> None:
    """Raise NotFinite if ``values`` (environments, …) hold NaN or infinity, with the index."""
    if not np.isfinite(values).all():
        index = np.argwhere(~np.isfinite(values))[0].tolist()
        raise NotFinite(f"{name} holds {values[tuple(index)]} (environment {index[0]}, index {index[1:]})")
