"""A spiking network and its ANN twin, made for data of a size."""

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
"""Pixels of training images that a whitening stem is computed from."""


def networks(
    config: NetworkConfig,
    size: tuple[int, tuple[int, int], int],
    seed: int,
    ann_twin: bool,
    checkpoint_steps: int | None = None,
) -> dict[str, Network]:
    """The untrained network for data of a ``size`` (channels, height and width, classes), and its ANN twin.

    Raises:
        ValueError, TypeError, ImportError: for a network that does not fit the data, or cannot be made here.
    """
    torch.manual_seed(seed)
    resolved = config.resolve(*size)
    pair: dict[str, Network] = {NETWORK: make_network(resolved, config.backend, checkpoint_steps)}
    return {**pair, ANN_TWIN: twin(resolved)} if ann_twin else pair


def has_whitening(networks: Iterable[nn.Module]) -> bool:
    """Whether any of ``networks`` has a whitening stem, which is computed from images."""
    return any(isinstance(layer, WhiteningConv2d) for network in networks for layer in network.modules())


def whiten(networks: Iterable[nn.Module], images: Tensor) -> None:
    """Compute all whitening stems from ``images`` (…, C, H, W), normalised as the networks see them."""
    for network in networks:
        fit_whitening(network, images.flatten(0, -4))


def looked_at(image_size: tuple[int, int]) -> int:
    """How many images a whitening stem is computed from."""
    return max(LOOKED_AT // math.prod(image_size), 1)


def wrong_steps(network: NetworkConfig, data: DataConfig) -> Iterator[str]:
    """What is wrong with the T of a network for events, which come in as many steps as they have bins."""
    if data.is_events and data.bins != network.T:
        yield f"network.T: got {network.T}, allowed for events is {data.bins}, as data.bins; set both"
