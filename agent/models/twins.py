"""A spiking network and its ANN twin, built for data of a given size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.envs.data.datasets import DataConfig
from snn4.policies.networks.ann import twin
from snn4.policies.networks.classifier import Network
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.networks.whitening import WhiteningConv2d, fit_whitening

LOOKED_AT = 5_000_000
"""Number of pixels from which a whitening stem is computed."""


def networks(
    config: NetworkConfig, size: tuple[int, tuple[int, int], int], seed: int, ann_twin: bool,
    checkpoint_steps: int | None = None,
) -> dict[str, Network]:  # fmt: skip
    """The untrained network for data of a ``size`` (channels, (height, width), classes), and its ANN twin.

    Raises:
        ValueError, TypeError, ImportError: the network does not fit the data, or cannot be built here.
    """
    torch.manual_seed(seed)
    resolved = config.resolve(*size)
    pair: dict[str, Network] = {NETWORK: make_network(resolved, config.backend, checkpoint_steps)}
    return {**pair, ANN_TWIN: twin(resolved)} if ann_twin else pair


def has_whitening(networks: Iterable[nn.Module]) -> bool:
    """Whether any of ``networks`` has a whitening stem, which is computed from images."""
    return any(isinstance(layer, WhiteningConv2d) for network in networks for layer in network.modules())


def whiten(networks: Iterable[nn.Module], images: Tensor) -> None:
    """Compute all whitening stems from normalised ``images`` (…, C, H, W)."""
    for network in networks:
        fit_whitening(network, images.flatten(0, -4))


def looked_at(image_size: tuple[int, int]) -> int:
    """Number of images from which a whitening stem is computed."""
    return max(LOOKED_AT // math.prod(image_size), 1)


def wrong_steps(network: NetworkConfig, data: DataConfig) -> Iterator[str]:
    """The problem of a network for events whose T differs from the number of bins."""
    if data.is_events and data.bins != network.T:
        yield f"network.T: got {network.T}, allowed for events is {data.bins}, the value of data.bins; set both"
