"""Whitening of image patches: a first layer that is computed from the data instead of learned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from typing_extensions import Self

PATCH = 2
"""Height and width of the patches, pixels."""


class WhiteningConv2d(nn.Conv2d):
    """Images (B, C, H, W) -> whitened patches of 2 x 2 and their negatives, (B, 8 C, H - 1, W - 1).

    The second half of the channels is the negative of the first half, so a following ReLU loses no information. The
    layer learns nothing, so the backward pass ends before it (Coates & Ng 2011; Jordan 2024, "94% on CIFAR-10 in 3.29
    Seconds on a Single GPU", who learns a bias). Before `fit`, patches are unchanged.
    """

    def __init__(self, in_channels: int) -> None:
        n = in_channels * PATCH**2
        super().__init__(in_channels, 2 * n, PATCH, bias=False)
        self.requires_grad_(False)
        self._set(torch.eye(n))

    def apply(self, fn: Callable[[nn.Module], None]) -> Self:
        """No change: initializations of all layers, such as stable-baselines3's, do not apply to these filters."""
        return self

    @torch.no_grad()
    def fit(self, images: Tensor, eps: float = 5e-4) -> None:
        """Compute the filters from ``images`` (B, C, H, W): axes of their patches, each scaled to a mean square of 1.

        Args:
            images: images with the preprocessing of the network's inputs.
            eps: added to the mean squares, so axes with a very small mean square are not amplified too much.
        """
        patches = nn.functional.unfold(images.double(), PATCH).transpose(1, 2).flatten(0, 1)
        squares, axes = torch.linalg.eigh(patches.mT @ patches / len(patches))
        # The sign of an axis is arbitrary and depends on the library, so it is fixed here.
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
        self._set((axes / (squares.clamp_min(0) + eps).sqrt()).mT)

    @torch.no_grad()
    def _set(self, filters: Tensor) -> None:
        self.weight.copy_(torch.cat([filters, -filters]).view_as(self.weight))


def fit_whitening(network: nn.Module, images: Tensor) -> None:
    """Call `WhiteningConv2d.fit` with ``images`` for every such layer of ``network``."""
    for layer in network.modules():
        if isinstance(layer, WhiteningConv2d):
            layer.fit(images)
