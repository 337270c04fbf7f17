"""Networks in two parts: what is before a layer and what is behind it."""

from __future__ import annotations

from torch import Tensor, nn

from snn4.policies.network import SpikingSequential
from snn4.policies.networks.classifier import Network, SpikingClassifier
from snn4.policies.neurons import Neuron


class Cut:
    """A network's first ``n`` layers and the rest, with the layers themselves and no copies: ``back(front(x))`` is
    what the network gives.

    What is in between has time in a spiking network, (T, B, …), and none in an ANN, (B, …).
    """

    def __init__(self, network: Network, n: int) -> None:
        layers, self.config = list(network.network.children()), network.config
        self.spiking = isinstance(network, SpikingClassifier)
        self.before, self.behind = layers[:n], layers[n:]

    def front(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), or events (T, B, C, H, W) where the network is spiking, up to the cut."""
        self.config.check_input(x, (4, 5) if self.spiking else (4,))
        if not self.spiking:
            return nn.Sequential(*self.before)(x)  # type: ignore[no-any-return]
        steps = self.config.T if x.dim() == 4 else None
        y: Tensor = SpikingSequential(*self.before)(x.unsqueeze(0) if x.dim() == 4 else x, None, steps)[0]
        return y.expand(steps or len(y), *y.shape[1:])  # before the first neurons an image is still one step

    def back(self, x: Tensor) -> Tensor:
        """From the cut to the class scores (B, n_classes), the mean over all steps."""
        if not self.spiking:
            return nn.Sequential(*self.behind)(x)  # type: ignore[no-any-return]
        return SpikingSequential(*self.behind)(x, None)[0].mean(0)  # type: ignore[no-any-return]

    def freeze(self) -> list[nn.Parameter]:
        """Let the front learn no more; returns the parameters that did."""
        learning = [p for layer in self.before for p in layer.parameters() if p.requires_grad]
        for parameter in learning:
            parameter.requires_grad_(False)
        return learning


def before_readout(network: Network) -> Cut:
    """The cut before the last layer; ValueError where that is not linear."""
    *_, last = network.network.children()
    if not isinstance(last, nn.Linear):
        raise ValueError(f"network: got {type(last).__name__} as its last layer, allowed with this strategy is Linear")
    return Cut(network, len(list(network.network.children())) - 1)


def behind_spikes(network: Network, layer: int | None = None) -> Cut:
    """The cut behind a layer of neurons, and the max pooling that follows it, where all that passes are spikes.

    Args:
        network: spiking or an ANN twin, which has ReLU in the place of neurons.
        layer: number of the neurons' layer in ``network.network``, from 0; None is the last but one, so that neurons
            learn on both sides, or the only one.

    Raises:
        ValueError: for a layer without neurons, naming those that have, and for a network whose layers have none.
    """
    layers = list(network.network.children())
    kind = _spikes if isinstance(network, SpikingClassifier) else _rectifies
    allowed = [n for n, module in enumerate(layers) if kind(module)]
    if not allowed:
        raise ValueError(
            "network: got no layer of neurons with single spikes outside of blocks, allowed is one or more"
        )
    if layer is None:
        layer = allowed[max(len(allowed) - 2, 0)]
    if layer not in allowed:
        raise ValueError(f"layer: got {layer}, allowed are layers of neurons: {', '.join(map(str, allowed))}")
    end = layer + 1
    while end < len(layers) and isinstance(layers[end], nn.MaxPool2d):
        end += 1
    return Cut(network, end)


def _spikes(module: nn.Module) -> bool:
    return isinstance(module, Neuron) and module.config.spikes and module.config.kind != "multi"  # means of spikes


def _rectifies(module: nn.Module) -> bool:
    return isinstance(module, nn.ReLU)
