"""Inputs of one scale for a network that has learned another one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Rescaled(nn.Module):
    """``network`` for inputs (…, C, H, W) that were normalised for another network.

    Normalised values are ``(pixel - mean) / std``. The wrapper undoes the normalisation ``given`` and applies the one
    that ``network`` has ``learned``, in one multiplication and one addition per channel.

    Args:
        given, learned: mean and std of each channel.

    Raises:
        ValueError: the numbers of channels differ.
    """

    def __init__(
        self,
        network: nn.Module,
        given: tuple[Sequence[float], Sequence[float]],
        learned: tuple[Sequence[float], Sequence[float]],
    ) -> None:
        super().__init__()
        if len({len(values) for values in (*given, *learned)}) != 1:
            raise ValueError(f"mean: got {len(learned[0])} numbers, allowed are {len(given[0])}, one per channel")
        self.network = network
        mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in given)
        learned_mean, learned_std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in learned)
        self.factor: Tensor
        self.shift: Tensor
        self.register_buffer("factor", (std / learned_std).float())
        self.register_buffer("shift", ((mean - learned_mean) / learned_std).float())

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x * self.factor + self.shift)  # type: ignore[no-any-return]
