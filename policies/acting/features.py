"""Perception of a policy: a named network without its readout, as a features extractor of stable-baselines3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from snn4.policies.acting.arguments import config_of
from snn4.policies.decoding import make_decoder
from snn4.policies.finite import require_finite
from snn4.policies.networks.ann import twin
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.scan import is_recorded


class NetworkFeatures(BaseFeaturesExtractor):
    """Images (B, C, H, W) -> the input of a named network's linear readout, averaged over T steps (B, n).

    If the last stage of the network spikes, the features are rates. Use it like SB3's extractors, with any policy:
    ``policy_kwargs={"features_extractor_class": NetworkFeatures, "features_extractor_kwargs": {"network": config}}``.

    Args:
        observation_space: a Box (C, H, W); SB3 moves the channels of uint8 images from 0 to 255 to the front, and
            scales the values to 0 … 1.
        network: the network with its steps and its neurons: a `NetworkConfig`, a mapping of its fields, or a name.
        kind: spiking, or ann for the artificial twin.

    Raises:
        ValueError: for observations that are not images, and for images that the network cannot take.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        network: NetworkConfig | Mapping[str, Any] | str,
        kind: Literal["spiking", "ann"] = "spiking",
    ) -> None:
        network = config_of("network", network, NetworkConfig)
        config = network.resolve(*image_shape(observation_space), n_classes=1)
        classifier: Any = make_network(config, network.backend) if kind == "spiking" else twin(config)
        readouts = [number for number, layer in enumerate(classifier.network) if isinstance(layer, nn.Linear)]
        if not readouts:
            raise ValueError(
                f"encoder: got {network.name} without a linear readout, allowed are networks that end with one"
            )
        super().__init__(observation_space, classifier.network[readouts[-1]].in_features)
        classifier.network[readouts[-1]] = nn.Identity()
        self.network = classifier
        self.decoder = make_decoder("rate", network.T, decay=0) if kind == "spiking" else None

    def forward(self, observations: Tensor) -> Tensor:
        if not torch.is_grad_enabled() and not is_recorded():
            require_finite(self.modules())
        # On a CPU, convolutions and pooling, above all the first, take as little as half the time in this format.
        observations = observations.contiguous(memory_format=torch.channels_last)
        if self.decoder is None:
            return self.network(observations)  # type: ignore[no-any-return]
        return self.decoder(self.network.run(observations)[0])  # type: ignore[no-any-return]


def image_shape(space: spaces.Space[Any]) -> tuple[int, tuple[int, int]]:
    """Channels and (height, width) of image observations with channels first; ValueError for other observations.

    The shape decides, whatever the dtype: an image is square, or has fewer channels than pixels on either side.
    """
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        raise ValueError(f"encoder: got observations {space}, allowed with an encoder are images: a Box (C, H, W)")
    channels, height, width = space.shape
    if height != width and channels >= min(height, width):
        raise ValueError(
            f"encoder: got images {space.shape}, allowed are (channels, height, width) that are square or have fewer "
            f"channels than pixels on either side; transpose or pad them with gymnasium.wrappers.TransformObservation"
        )
    return channels, (height, width)
