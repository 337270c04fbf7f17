"""ANN front ends of hybrids: the first layers of a torchvision model, or any module whose outputs are feature maps."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor, nn
from typing_extensions import Self

from snn4.policies.networks.state_dicts import read_state_dict

SMALL = "small"
"""The name of a front end with few convolutions, which is not a torchvision model."""


class FrontEnd(nn.Module):
    """Ordinary layers that process images for spiking layers: images (B, C, H, W) -> feature maps (B, C', H', W').

    Args:
        layers: any module with these inputs and outputs.
        frozen: whether the front end never changes: it has no gradients, and its norms keep their statistics while the
            other layers learn.
        learned: whether its weights come from earlier learning. Then ``apply``, with which stable-baselines3
            reinitializes the weights of every features extractor, does not change them.
    """

    def __init__(self, layers: nn.Module, frozen: bool = False, learned: bool = False) -> None:
        super().__init__()
        self.layers = layers
        self.frozen = frozen
        self.learned = learned
        if frozen:
            self.requires_grad_(False)
            self.train(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and not self.frozen)

    def apply(self, fn: Callable[[nn.Module], None]) -> Self:
        return self if self.learned else super().apply(fn)

    @torch.no_grad()
    def shape_of(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """Channels, height and width (C', H', W') of the maps for images (C, H, W); ValueError if there are no maps."""
        training = self.training
        try:
            maps = self.eval()(torch.zeros(1, *image))
        except Exception as error:  # modules raise different errors for an image, which is usually too small
            reason = " ".join(str(error).split())
            raise ValueError(f"image_size: got images {image}, which the front end cannot take ({reason})") from error
        finally:
            self.train(training)
        if not isinstance(maps, Tensor) or maps.dim() != 4:
            got = f"an output of {maps.dim()} dimensions" if isinstance(maps, Tensor) else f"a {type(maps).__name__}"
            raise ValueError(f"layer: got {got}, allowed is a layer with maps (B, C, H, W); name an earlier one")
        return tuple(maps.shape[1:])


def torchvision_front(name: str, layer: str, in_channels: int, weights: str | None) -> nn.Sequential:
    """The layers of torchvision's classifier ``name`` up to and including ``layer``, for any number of channels.

    Args:
        name: a name in ``torchvision.models.list_models()``; the model must be a sequence of layers from images to
            maps.
        layer: a name in ``named_modules()``, such as ``layer2`` or ``features.4``.
        in_channels: channels of the images. If the model has another number, the weights of the first convolution are
            repeated over channels and scaled, so that the size of its outputs stays the same. For grey images, the
            weights are summed over channels (as timm does).
        weights: None draws them at random; ``"DEFAULT"`` downloads torchvision's; otherwise a file (`load_weights`).

    Raises:
        ValueError: the message names the field of `hybrid.HybridConfig` and what is allowed.
    """
    front = _up_to(_torchvision_model(name, weights), layer.split("."), name, layer)
    if weights not in (None, "DEFAULT"):
        load_weights(front, str(weights))
    _set_channels(front, in_channels)
    return front


def load_weights(module: nn.Module, path: str) -> None:
    """Load a state dict from ``.safetensors`` or ``.pt``; only tensors are unpickled.

    The file may hold the state dict of ``module``, of a larger model that starts with it, or of a whole hybrid with
    such a front end.

    Raises:
        ValueError: the message names the file, and the tensors that are missing or have another shape.
    """
    current, saved = module.state_dict(), _read(path)
    if current.keys().isdisjoint(saved):
        saved = {name.removeprefix(_IN_A_HYBRID): x for name, x in saved.items()}
    # Files of old torch versions have no num_batches_tracked.
    needed = {name: x for name, x in current.items() if name in saved or not name.endswith("num_batches_tracked")}
    wrong = [f"{name} is missing" for name in needed if name not in saved]
    wrong += [
        f"{name} is {tuple(saved[name].shape)}, allowed is {tuple(x.shape)}"
        for name, x in needed.items()
        if name in saved and saved[name].shape != x.shape
    ]
    if wrong:
        more = f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise ValueError(f"weights: {path} does not fit the front end: {'; '.join(wrong[:8])}{more}")
    module.load_state_dict({**current, **{name: saved[name] for name in needed}})


_IN_A_HYBRID = "network.0.layers."
"""Prefix of the front end's layers in the state dict of a `hybrid.Hybrid` or its twin."""


def _read(path: str) -> dict[str, Tensor]:
    try:
        return read_state_dict(Path(path).expanduser())
    except ValueError as error:
        raise ValueError(f"weights: {error}") from error


def _torchvision_model(name: str, weights: str | None) -> nn.Module:
    from torchvision import models  # here, because this import takes a second

    allowed = [model for model in models.list_models(module=models) if not model.startswith(_NOT_SEQUENTIAL)]
    if name not in allowed:
        near = get_close_matches(name, [SMALL, *allowed], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"front: got {name!r}, {hint}Allowed are {SMALL} and torchvision's {', '.join(allowed)}")
    try:
        return models.get_model(name, weights="DEFAULT" if weights == "DEFAULT" else None)
    except OSError as error:
        raise ValueError(
            f"weights: got DEFAULT, but they cannot be downloaded ({error}); allowed offline is the path of a file "
            f"from https://pytorch.org/vision/stable/models.html"
        ) from error


_NOT_SEQUENTIAL = ("googlenet", "inception", "swin", "vit")
"""Models that transform images before their first layer, or that process patches instead of maps."""


def _up_to(module: nn.Module, path: list[str], model: str, layer: str) -> nn.Sequential:
    """The children of ``module`` in order and with their names, up to the layer at ``path``."""
    layers, (first, *rest) = nn.Sequential(), path
    for name, child in module.named_children():
        if name == first and rest and not isinstance(child, (nn.Sequential, nn.ModuleList)):
            block = layer.removesuffix("." + ".".join(rest))
            raise ValueError(f"layer: got {layer!r}, a part of a block of {model}; allowed is {block}, the whole block")
        layers.add_module(name, _up_to(child, rest, model, layer) if name == first and rest else child)
        if name == first:
            return layers
    allowed = ", ".join(name for name, _ in module.named_children()) or "none"
    raise ValueError(f"layer: got {layer!r}, but {model} has no part {first!r}, allowed there are {allowed}")


def _set_channels(front: nn.Module, in_channels: int) -> None:
    """Adapt the first convolution to images with ``in_channels``."""
    conv = next(layer for layer in front.modules() if isinstance(layer, nn.Conv2d))
    if conv.in_channels == in_channels:
        return
    weight, n = conv.weight.detach(), conv.in_channels
    if in_channels == 1:
        weight = weight.sum(1, keepdim=True)
    else:
        weight = weight.repeat(1, -(-in_channels // n), 1, 1)[:, :in_channels] * (n / in_channels)
    conv.weight, conv.in_channels = nn.Parameter(weight), in_channels
