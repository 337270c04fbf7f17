"""Conversion of an ANN into a spiking network: traced, measured on calibration data, scaled, and corrected."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from snn4.learners.conversion.ann_graph import AnnGraph, CannotConvert
from snn4.learners.conversion.calibration import corrected
from snn4.learners.conversion.networks import artificial, spiking
from snn4.learners.conversion.progress import Progress
from snn4.learners.conversion.qcfs import quantize_scaled
from snn4.learners.conversion.scaling import scaled
from snn4.learners.conversion.sizes import Sizes, measured
from snn4.learners.conversion.tracing import trace
from snn4.learners.generators import result_of
from snn4.policies.networks.classifier import Classifier
from snn4.policies.networks.graph import GraphConfig, GraphNet
from snn4.policies.neurons import NeuronConfig

METHODS = {
    "threshold-balance": "weights are scaled to a percentile of the activations (Rueckauer et al. 2017)",
    "calibrate": "thresholds with the smallest error at T, then biases corrected layer by layer (after Li et al. 2021)",
    "qcfs": "finetuned with quantized clip-floor-shift activations, whose thresholds are learned (Bu et al. 2022)",
}
NEURONS = {
    "if": NeuronConfig("if", v_leak=0.5),
    "signed_if": NeuronConfig("signed_if", v_leak=0.5),
}
"""Neurons that start from half their threshold, which rounds the number of spikes (Bu et al. 2022)."""


@dataclass(frozen=True)
class ConversionConfig:
    """How an ANN becomes a spiking network."""

    method: Literal["threshold-balance", "calibrate", "qcfs"] = "calibrate"
    """threshold-balance: weights are scaled to a percentile of the activations. calibrate: thresholds with the smallest
    error at T, then biases corrected layer by layer. qcfs: a finetuning with quantized activations comes first."""
    T: int = 8
    """Inner steps per image, burn_in included. Thresholds and biases are made for this number."""
    neuron: Literal["if", "signed_if"] = "signed_if"
    """signed_if takes back spikes that came too early by negative ones, and needs far fewer steps. if: plain spikes,
    for chips that have no others."""
    scale: Literal["channel", "layer"] = "channel"
    """Whether each channel has a threshold of its own, or a layer one for all."""
    percentile: float = 99.9
    """Percentile of the activations that a spike in every step stands for (threshold-balance)."""
    v_initial: float = 0.5
    """Membrane from which neurons start, as a fraction of the threshold; 0.5 rounds the number of spikes."""
    burn_in: int = 0
    """Steps at the start that the readout ignores, because spikes of the first steps are uneven."""
    residual: bool | None = None
    """Whether a decision of an agent starts from what the one before has left in the membranes, so that the mean over
    decisions has more levels than one decision (CRPI, arXiv 2601.21778). null chooses what returns more in validation
    episodes. Classifiers start every image from rest."""
    images: int = 1000
    """Calibration images."""
    levels: int = 8
    """Levels of the quantized activations (qcfs); the number of steps is a good choice."""

    def __post_init__(self) -> None:
        for name, allowed in (("method", METHODS), ("neuron", NEURONS), ("scale", ("channel", "layer"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are {', '.join(allowed)}")
        for name in ("T", "images", "levels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a whole number >= 1")
        if not 50 <= self.percentile <= 100:
            raise ValueError(f"percentile: got {self.percentile}, allowed is a number from 50 to 100")
        if not 0 <= self.v_initial < 1:
            raise ValueError(f"v_initial: got {self.v_initial}, allowed is a number from 0 to below 1")
        if not 0 <= self.burn_in < self.T:
            raise ValueError(f"burn_in: got {self.burn_in}, allowed is a whole number >= 0 and < T ({self.T})")

    @property
    def neuron_config(self) -> NeuronConfig:
        return replace(NEURONS[self.neuron], v_leak=self.v_initial)


@dataclass(frozen=True, eq=False)
class Conversion:
    """A spiking network, and the ANN that it was made from."""

    network: GraphNet
    ann: Classifier
    """The ANN in the units of the network: the same weights before biases were corrected, with ReLU for neurons; or
    with quantized activations, if these were learned (qcfs)."""
    graph: AnnGraph
    sizes: Sizes
    """The activation that a spike in every step stands for, by neuron."""


def convert(module: nn.Module, calibration: Tensor, config: ConversionConfig | None = None) -> Conversion:
    """Convert a trained ANN.

    Args:
        module: made of the layers that `trace` allows, in any wiring.
        calibration: images as the ANN sees them (N, C, H, W).
        config: settings; None takes the defaults.

    Raises:
        CannotConvert: a part of ``module`` cannot be converted, or does not take ``calibration``.
    """
    return result_of(converting(graph_of(module, calibration), calibration, config or ConversionConfig()))


def graph_of(module: nn.Module, calibration: Tensor) -> AnnGraph:
    """`trace`, after a check of the calibration images."""
    if calibration.dim() != 4 or not len(calibration) or not calibration.is_floating_point():
        got = f"{tuple(calibration.shape)}, {calibration.dtype}"
        raise CannotConvert(f"calibration: got {got}, allowed are images (N, C, H, W) in floating point")
    if not torch.isfinite(calibration).all():
        raise CannotConvert("calibration: got NaN or infinity, allowed are finite images")
    graph = trace(module, calibration[:1])
    if not graph.neurons:
        raise CannotConvert(f"{type(module).__name__}: got no ReLU, allowed are networks with one or more")
    return graph


def converting(
    graph: AnnGraph, calibration: Tensor, config: ConversionConfig, sizes: Sizes | None = None
) -> Generator[Progress, None, Conversion]:
    """Convert a traced ANN, with a report after each batch or layer; the return value is a `Conversion`.

    Args:
        graph: of `trace`.
        calibration: (N, C, H, W); the first ``config.images`` are used.
        config: settings.
        sizes: activations that a spike in every step stands for, if they were learned (qcfs).
    """
    images = calibration[: config.images].float().cpu()
    plain = _network_config(graph, images, config)
    if sizes is None:
        sizes = yield from measured(artificial(graph, plain), graph, images, config)
    graph = scaled(graph, sizes)
    network, ann = spiking(graph, plain), artificial(graph, plain)
    if config.method == "qcfs":
        quantize_scaled(ann, graph, config.levels)
    if config.method != "threshold-balance":
        yield from corrected(network, ann, images)
    return Conversion(network, ann, graph, sizes)


def _network_config(graph: AnnGraph, images: Tensor, config: ConversionConfig) -> GraphConfig:
    _, channels, height, width = images.shape
    return GraphConfig(
        in_channels=channels, image_size=(height, width), n_classes=graph.channels[graph.nodes[-1].name],
        T=config.T, neuron=config.neuron_config, burn_in=config.burn_in,
    )  # fmt: skip
