"""NaN and infinity, found where they first show and named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


class NotFinite(RuntimeError):
    """A NaN or infinity appeared where learning cannot go on."""

    exit_status = 1  # of the command line


def check_model(model: BaseAlgorithm) -> None:
    """Raise NotFinite, naming it, if a loss or a weight is not finite."""
    for name, value in model.logger.name_to_value.items():
        if name.startswith("train/") and "loss" in name and not np.isfinite(value):
            raise NotFinite(f"step {model.num_timesteps}: {name} is {value}")
    check_network(model.policy, f"step {model.num_timesteps}: policy")


def check_network(network: nn.Module, where: str) -> None:
    """Raise NotFinite, naming it, if a weight is not finite.

    Neurons that get NaN are silent, so that the loss need not show it.
    """
    for name, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise NotFinite(f"{where}: {name} holds NaN or infinity; try a smaller learning rate, or clip gradients")


def require_finite(name: str, values: np.ndarray[Any, Any]) -> None:
    """Raise NotFinite, naming the place, if ``values`` (environments, …) hold NaN or infinity."""
    if not np.isfinite(values).all():
        index = np.argwhere(~np.isfinite(values))[0].tolist()
        raise NotFinite(f"{name} holds {values[tuple(index)]} (environment {index[0]}, index {index[1:]})")
