"""Spiking classifiers of images and events: the base of their configs, and the module that runs them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from snn4.policies.network import SpikingSequential, State
from snn4.policies.neurons import NeuronConfig, neuron_config
from snn4.policies.sparse import SPARSEST


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """Fields of every network for images or for events in bins: its input, classes, steps and neurons."""

    image_size: tuple[int, int] | None = None
    """Height and width of the images; None accepts any size, if the network can."""
    in_channels: int = 3
    """Channels of the images; 2 for events of two polarities."""
    n_classes: int = 10
    T: int = 4
    """Inner steps per image. Events have their own number of steps, which may not exceed T with norm: step."""
    neuron: NeuronConfig = dataclasses.field(default_factory=NeuronConfig)
    """Also the name of a kind, or of a paper's neuron (spikformer, ms-resnet), as for `neuron_config`."""
    sparsity: float = 0.0
    """Fraction of synapses, up to 0.95, that are absent from each layer but the readout and a convolution of the image
    (`snn4.policies.sparse.Sparse`). The twin is dense."""

    choices: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Fields with a fixed set of values, and these values."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", neuron_config(self.neuron))
        for name, allowed in self.choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are {', '.join(allowed)}")
        if not self.neuron.spikes:
            raise ValueError(f"neuron.kind: got {self.neuron.kind!r}, which does not spike; it is for readouts")
        if not 0 <= self.sparsity <= SPARSEST:
            raise ValueError(f"sparsity: got {self.sparsity}, allowed is a number from 0 to {SPARSEST}")
        for name in ("in_channels", "n_classes", "T"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a whole number >= 1")

    @property
    def smallest_side(self) -> int:
        """Smallest height and width of an image from which pooling leaves at least one pixel."""
        return 1

    def check_input(self, x: Tensor, dims: tuple[int, ...]) -> None:
        """ValueError unless ``x`` is a floating-point batch (…, B, C, H, W) that fits the network.

        ``dims`` are the allowed numbers of dimensions. If ``image_size`` is given, images must have this size.
        """
        size, side = self.image_size, self.smallest_side
        shapes = " or ".join("(B, C, H, W)" if n == 4 else "(T, B, C, H, W)" for n in dims)
        if x.dim() not in dims or 0 in x.shape:
            raise ValueError(f"x: got shape {tuple(x.shape)}, allowed is {shapes}, each >= 1")
        if not x.is_floating_point():
            raise ValueError(f"x: got dtype {x.dtype}, allowed is a floating-point one; convert with .float()")
        if x.shape[-3] != self.in_channels:
            raise ValueError(f"x: got {x.shape[-3]} channels, allowed is in_channels ({self.in_channels})")
        if size is not None and tuple(x.shape[-2:]) != tuple(size):
            raise ValueError(f"x: got images of {tuple(x.shape[-2:])}, allowed is image_size ({tuple(size)})")
        if min(x.shape[-2:]) < side:
            raise ValueError(f"x: got images of {tuple(x.shape[-2:])}, allowed are sides >= {side}")


class SpikingClassifier(nn.Module):
    """Images (B, C, H, W), or events (T, B, C, H, W), -> class scores (B, n_classes): the mean over all steps.

    An image is a constant current (direct code): layers before the first neurons run once for all T steps. Neurons
    start at rest. The network runs in channels_last as well as in the usual memory format, and under autocast.

    Args:
        config: inputs and classes of the network.
        layers: the layers in order; the last gives scores (T * B, n_classes).
        checkpoint_steps: steps per segment of gradient checkpointing, which saves memory (`SpikingSequential`).

    Raises:
        ValueError: for an input with wrong dimensions, dtype, channels or size; the message names what is wrong.
    """

    def __init__(
        self, config: ClassifierConfig, layers: Iterable[nn.Module], checkpoint_steps: int | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.network = SpikingSequential(*layers, checkpoint_steps=checkpoint_steps)

    def forward(self, x: Tensor, steps: int | None = None) -> Tensor:
        return self.run(x, steps=steps)[0].mean(0)

    def run(self, x: Tensor, state: State = None, steps: int | None = None) -> tuple[Tensor, State]:
        """Scores of each step (T, B, n_classes), and the final state.

        Args:
            x: images (B, C, H, W) or events (T, B, C, H, W).
            state: the state after earlier steps, from which to continue; None is rest.
            steps: number of steps for images; None takes T of the config.
        """
        if not torch.compiler.is_compiling():  # which cannot look into all configs
            self.config.check_input(x, (4, 5))
        if x.dim() == 5:
            return self.network(x, state, steps)  # type: ignore[no-any-return]
        return self.network(x.unsqueeze(0), state, self.config.T if steps is None else steps)  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """A classifier without spikes and time, an ANN twin: images (B, C, H, W) -> class scores (B, n_classes).

    Raises:
        ValueError: for an input with wrong dimensions, dtype, channels or size; the message names what is wrong.
    """

    def __init__(self, config: ClassifierConfig, network: nn.Module) -> None:
        super().__init__()
        self.config, self.network = config, network

    def forward(self, x: Tensor) -> Tensor:
        self.config.check_input(x, (4,))
        return self.network(x)  # type: ignore[no-any-return]


Network = SpikingClassifier | Classifier
