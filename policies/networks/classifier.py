"""Spiking classifiers of images and events: what their configs share, and the module that runs any of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn

from snn4.policies.network import SpikingSequential, State
from snn4.policies.neurons import NeuronConfig, neuron_config


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """What every network for images, or for events in bins, has: its input, its classes, its steps, its neurons."""

    image_size: tuple[int, int] | None = None
    """Height and width of the images; None takes any, where the network can."""
    in_channels: int = 3
    """Channels of the images; 2 for events of two polarities."""
    n_classes: int = 10
    T: int = 4
    """Inner steps for an image; events bring their own number, for norm: step no more than this."""
    neuron: NeuronConfig = dataclasses.field(default_factory=NeuronConfig)
    """Also what `neuron_config` takes: the name of a kind, or of a paper's neuron (spikformer, ms-resnet)."""

    choices: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Fields that are one of a few words."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", neuron_config(self.neuron))
        for name, allowed in self.choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are {', '.join(allowed)}")
        if not self.neuron.spikes:
            raise ValueError(f"neuron.kind: got {self.neuron.kind!r}, which does not spike; it is for readouts")
        for name in ("in_channels", "n_classes", "T"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a whole number >= 1")

    @property
    def smallest_side(self) -> int:
        """Smallest height and width of an image that leaves something after all pooling."""
        return 1

    def check_input(self, x: Tensor, dims: tuple[int, ...]) -> None:
        """ValueError unless ``x`` is a floating-point batch (…, B, C, H, W) of these dimensions that fits the network.

        Where ``image_size`` is given, its height and width must be those.
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

    An image is a constant current (direct code): what comes before the first neurons runs once for all T steps. Neurons
    start at rest. Runs in channels_last as in the usual memory format, and under autocast.

    Args:
        config: what the network sees and gives.
        layers: the network, in order; the last gives scores (T * B, n_classes).
        checkpoint_steps: segments of so many steps, to save memory (`SpikingSequential`).

    Raises:
        ValueError: for an input of the wrong dimensions, type, channels or size, naming them.
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
        """Scores of each step (T, B, n_classes), and the last state.

        Args:
            x: images (B, C, H, W) or events (T, B, C, H, W).
            state: the state after earlier steps, to go on from there.
            steps: for images: how many, None for the config's T.
        """
        self.config.check_input(x, (4, 5))
        if x.dim() == 5:
            return self.network(x, state, steps)  # type: ignore[no-any-return]
        return self.network(x.unsqueeze(0), state, self.config.T if steps is None else steps)  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """A classifier without spikes and time, an ANN twin: images (B, C, H, W) -> class scores (B, n_classes).

    Raises:
        ValueError: for an input of the wrong dimensions, type, channels or size, naming them.
    """

    def __init__(self, config: ClassifierConfig, network: nn.Module) -> None:
        super().__init__()
        self.config, self.network = config, network

    def forward(self, x: Tensor) -> Tensor:
        self.config.check_input(x, (4,))
        return self.network(x)  # type: ignore[no-any-return]


Network = SpikingClassifier | Classifier
