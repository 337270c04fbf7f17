"""ANN front ends of hybrids: the first layers of a torchvision model, or any module that makes maps of features."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from typing_extensions import Self

SMALL = "small"
"""The name of a front end of few convolutions, which is no model of torchvision."""


class FrontEnd(nn.Module):
    """Ordinary layers that see for spiking ones: images (B, C, H, W) -> maps of features (B, C', H', W').

    Args:
        layers: any module that does so.
        frozen: nothing in it ever changes: no gradients, and norms keep their statistics while the rest learns.
        learned: whether its weights come from earlier learning: ``apply``, by which stable-baselines3 draws the weights
            of every features extractor anew, then leaves them alone.
    """

    def __init__(self, layers: nn.Module, frozen: bool = False, learned: bool = False) -> None:
        super().__init__()
        self.layers, self.frozen, self.learned = layers, frozen, learned
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
        """Channels, height and width (C', H', W') that come of images (C, H, W); ValueError where they are too small."""
        training = self.training
        try:
            maps = self.eval()(torch.zeros(1, *image))
        except RuntimeError as error:
            said = " ".join(str(error).split())
            raise ValueError(f"image_size: got {image[1:]}, too small for the front end ({said})") from error
        finally:
            self.train(training)
        if maps.dim() != 4:
            got = f"an output of {maps.dim()} dimensions"
            raise ValueError(f"layer: got {got}, allowed is a layer with maps (B, C, H, W); name an earlier one")
        return tuple(maps.shape[1:])


def torchvision_front(name: str, layer: str, in_channels: int, weights: str | None) -> nn.Sequential:
    """The layers of torchvision's classifier ``name`` up to ``layer`` and with it, for images of any channels.

    Args:
        name: as in ``torchvision.models.list_models()``.
        layer: as in ``named_modules()``: ``layer2``, ``features.4``.
        in_channels: where it is not that of the model, the weights of the first convolution are repeated over channels,
            and scaled so that its outputs stay as large (as timm does).
        weights: None draws them; ``"DEFAULT"`` downloads torchvision's; else a file, see `load_weights`.

    Raises:
        ValueError: naming the field of `hybrid.HybridConfig` and what is allowed.
    """
    front = _up_to(_torchvision_model(name, weights), layer.split("."), name, layer)
    if weights not in (None, "DEFAULT"):
        load_weights(front, str(weights))
    _see(front, in_channels)
    return front


def load_weights(module: nn.Module, path: str) -> None:
    """Load a state dict, of ``module`` or of a larger model that begins with it, from ``.safetensors`` or ``.pt``.

    Nothing is unpickled but tensors.

    Raises:
        ValueError: naming the file, and what is missing in it.
    """
    file, own = Path(path).expanduser(), module.state_dict()
    if not file.is_file():
        raise ValueError(f"weights: got {path}, which is no file; allowed is a .safetensors or .pt file, or DEFAULT")
    try:
        if file.suffix == ".safetensors":
            found: Any = safetensors.torch.load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise ValueError(f"weights: {path} cannot be read: {str(error).splitlines()[0]}") from error
    # Files of old versions of torch do not count batches.
    missing = [key for key in own if key not in found and not key.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"weights: {path} lacks {len(missing)} of {len(own)} tensors, the first is {missing[0]}")
    try:
        module.load_state_dict({key: found.get(key, value) for key, value in own.items()})
    except RuntimeError as error:
        raise ValueError(f"weights: {path} does not fit: {' '.join(str(error).split())}") from error


def _torchvision_model(name: str, weights: str | None) -> nn.Module:
    from torchvision import models  # takes a second that only those who want it should wait

    allowed = models.list_models(module=models)
    if name not in allowed:
        near = get_close_matches(name, [SMALL, *allowed], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"front: got {name!r}, {hint}Allowed are {SMALL} and torchvision's {', '.join(allowed)}")
    try:
        return models.get_model(name, weights="DEFAULT" if weights == "DEFAULT" else None)
    except OSError as error:
        raise ValueError(
            f"weights: got DEFAULT, but they cannot be downloaded ({error}); allowed without a network is the path of a "
            f"file, from https://pytorch.org/vision/stable/models.html"
        ) from error


def _up_to(module: nn.Module, path: list[str], model: str, layer: str) -> nn.Sequential:
    """Children in order, of which the last is the one that ``path`` leads to; their names stay."""
    layers = nn.Sequential()
    for name, child in module.named_children():
        last = name == path[0]
        layers.add_module(name, _up_to(child, path[1:], model, layer) if last and path[1:] else child)
        if last:
            return layers
    allowed = ", ".join(name for name, _ in module.named_children()) or "none"
    raise ValueError(f"layer: got {layer!r}, of which {model} knows no {path[0]!r}, allowed there are {allowed}")


def _see(front: nn.Module, in_channels: int) -> None:
    """Let the first convolution take images of ``in_channels``."""
    name, conv = next((name, m) for name, m in front.named_modules() if isinstance(m, nn.Conv2d))
    if conv.in_channels == in_channels:
        return
    sizes: Any = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    wider = nn.Conv2d(in_channels, conv.out_channels, *sizes, bias=conv.bias is not None)
    repeated = conv.weight.detach().repeat(1, -(-in_channels // conv.in_channels), 1, 1)[:, :in_channels]
    with torch.no_grad():
        wider.weight.copy_(repeated * conv.in_channels / in_channels)
        if conv.bias is not None and wider.bias is not None:
            wider.bias.copy_(conv.bias)
    owner, _, last = name.rpartition(".")
    setattr(front.get_submodule(owner), last, wider)
