"""Teachers: trained classifiers that answer together and never change."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import Self

from snn4.policies.networks.classifier import SpikingClassifier
from snn4.policies.networks.rescaled import Rescaled


class Teacher(nn.Module):
    """Frozen classifiers in eval mode: images (B, C, H, W) or events (T, B, C, H, W) -> scores (B, classes).

    Scores are logarithms of the mean probabilities. Classifiers without time see the mean of events over their bins.

    Args:
        networks: classifiers of the same classes, spiking or not.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """The scores of each classifier, (teachers, B, classes), float32."""
        return torch.stack([network(as_seen_by(network, x)).float() for network in self.networks])

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).log_softmax(-1).logsumexp(0) - math.log(len(self.networks))

    def check(self, x: Tensor, n_classes: int, names: Iterable[str]) -> None:
        """ValueError unless each of the networks, called ``names``, turns the example ``x`` into finite scores."""
        for name, network in zip(names, self.networks, strict=True):
            try:
                with torch.no_grad():
                    scores = network(as_seen_by(network, x))
            except Exception as error:  # modules raise different errors for an image that they cannot take
                reason = " ".join(str(error).split()) or type(error).__name__
                size = tuple(x.shape[-3:])
                raise ValueError(f"{name}: cannot take the data's images of {size}: {reason}") from error
            shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            if shape != (x.shape[-4], n_classes):
                raise ValueError(f"{name}: got scores {shape}, allowed is {(x.shape[-4], n_classes)}: batch, classes")
            if not torch.isfinite(scores).all():
                raise ValueError(f"{name}: got scores that are NaN or infinite, allowed are finite ones")

    @property
    def steps(self) -> int:
        """Inner steps for an image: those of the slowest network, 1 for ANNs."""
        spiking = [inside(network) for network in self.networks]
        return max(network.config.T if isinstance(network, SpikingClassifier) else 1 for network in spiking)

    @property
    def digest(self) -> str:
        """A short hash of everything that the answers depend on."""
        digest = hashlib.sha256()
        for network in self.networks:
            digest.update(repr((network, getattr(network, "config", None))).encode())
            for name, x in network.state_dict().items():
                digest.update(name.encode())
                digest.update(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]


def inside(network: nn.Module) -> nn.Module:
    """The classifier itself, without the wrapper that scales its inputs."""
    return network.network if isinstance(network, Rescaled) else network


def as_seen_by(network: nn.Module, x: Tensor) -> Tensor:
    """``x`` itself, or the mean of events over their bins for a network without time."""
    return x.mean(0) if x.dim() == 5 and not isinstance(inside(network), SpikingClassifier) else x
