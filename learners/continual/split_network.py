"""Networks split in two parts between layers."""

from __future__ import annotations

from torch import Tensor, nn

from snn4.policies.network import SpikingSequential
from snn4.policies.networks.classifier import Network, SpikingClassifier
from snn4.policies.neurons import Neuron


class SplitNetwork:
    """The first ``n`` layers of a network, and the others: ``upper(lower(x))`` is the output of the network.

    Both parts share the network's layers. The latent between them has a time axis in a spiking network, (T, B, …),
    and none in an ANN, (B, …).
    """

    def __init__(self, network: Network, n: int) -> None:
        layers, self.config = list(network.network.children()), network.config
        self.spiking = isinstance(network, SpikingClassifier)
        self.lower_layers, self.upper_layers = layers[:n], layers[n:]

    def lower(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), or events (T, B, C, H, W) for a spiking network -> the latent."""
        self.config.check_input(x, (4, 5) if self.spiking else (4,))
        if not self.spiking:
            return nn.Sequential(*self.lower_layers)(x)  # type: ignore[no-any-return]
        steps = self.config.T if x.dim() == 4 else None
        y: Tensor = SpikingSequential(*self.lower_layers)(x.unsqueeze(0) if x.dim() == 4 else x, None, steps)[0]
        return y.expand(steps or len(y), *y.shape[1:])  # before the first neurons, an image has only one step

    def upper(self, latent: Tensor) -> Tensor:
        """The latent -> class scores (B, n_classes), the mean over all steps."""
        if not self.spiking:
            return nn.Sequential(*self.upper_layers)(latent)  # type: ignore[no-any-return]
        return SpikingSequential(*self.upper_layers)(latent, None)[0].mean(0)  # type: ignore[no-any-return]

    def freeze_lower(self) -> list[nn.Parameter]:
        """Freeze the parameters of the lower layers; returns those that were trainable."""
        trainable = [p for layer in self.lower_layers for p in layer.parameters() if p.requires_grad]
        for parameter in trainable:
            parameter.requires_grad_(False)
        return trainable


def split_before_readout(network: Network) -> SplitNetwork:
    """Split before the last layer; ValueError if it is not linear."""
    *_, last = network.network.children()
    if not isinstance(last, nn.Linear):
        raise ValueError(f"network: got {type(last).__name__} as its last layer, allowed with this strategy is Linear")
    return SplitNetwork(network, len(list(network.network.children())) - 1)


def split_after_spikes(network: Network, layer: int | None = None) -> SplitNetwork:
    """Split after a layer of neurons and the max pooling that follows it, so that the latent is spikes.

    Args:
        network: spiking, or an ANN twin with ReLU instead of neurons.
        layer: number of the layer of neurons in ``network.network``, from 0. None: the last but one, so that neurons
            learn on both sides, or the only one.

    Raises:
        ValueError: for a layer without neurons, with the allowed layers, and for a network without such layers.
    """
    layers = list(network.network.children())
    kind = _spikes if isinstance(network, SpikingClassifier) else _rectifies
    allowed = [n for n, module in enumerate(layers) if kind(module)]
    if not allowed:
        raise ValueError(
            "network: got no layer of neurons with single spikes outside of blocks, allowed are one or more"
        )
    if layer is None:
        layer = allowed[max(len(allowed) - 2, 0)]
    if layer not in allowed:
        raise ValueError(f"layer: got {layer}, allowed are layers of neurons: {', '.join(map(str, allowed))}")
    end = layer + 1
    while end < len(layers) and isinstance(layers[end], nn.MaxPool2d):
        end += 1
    return SplitNetwork(network, end)


def _spikes(module: nn.Module) -> bool:
    # Outputs of kind multi are means of spikes.
    return isinstance(module, Neuron) and module.config.spikes and module.config.kind != "multi"


def _rectifies(module: nn.Module) -> bool:
    return isinstance(module, nn.ReLU)
