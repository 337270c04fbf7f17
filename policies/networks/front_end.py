"""ANN front ends of hybrids: the first layers of a torchvision model, or any module that makes maps of features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
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
        """Channels, height and width (C', H', W') of the maps for images (C, H, W); ValueError where there are none."""
        training = self.training
        try:
            maps = self.eval()(torch.zeros(1, *image))
        except Exception as error:  # each module has its own way to refuse an image, most often one that is too small
            said = " ".join(str(error).split())
            raise ValueError(f"image_size: got images {image}, which the front end cannot take ({said})") from error
        finally:
            self.train(training)
        if not isinstance(maps, Tensor) or maps.dim() != 4:
            got = f"an output of {maps.dim()} dimensions" if isinstance(maps, Tensor) else f"a {type(maps).__name__}"
            raise ValueError(f"layer: got {got}, allowed is a layer with maps (B, C, H, W); name an earlier one")
        return tuple(maps.shape[1:])


def torchvision_front(name: str, layer: str, in_channels: int, weights: str | None) -> nn.Sequential:
    """The layers of torchvision's classifier ``name`` up to ``layer`` and with it, for images of any channels.

    Args:
        name: as in ``torchvision.models.list_models()``, of those that are a row of layers between images and maps.
        layer: as in ``named_modules()``: ``layer2``, ``features.4``.
        in_channels: where it is not that of the model, the weights of the first convolution are repeated over channels,
            and scaled so that its outputs stay as large; for grey images they are added up (as timm does).
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
    """Load a state dict from ``.safetensors`` or ``.pt``, of which nothing is unpickled but tensors.

    It may be that of ``module``, of a larger model that begins with it, or of a whole hybrid with such a front end.

    Raises:
        ValueError: naming the file, and the tensors that are missing or of another shape.
    """
    own, found = module.state_dict(), _read(path)
    if own.keys().isdisjoint(found):
        found = {name.removeprefix(_IN_A_HYBRID): x for name, x in found.items()}
    # Files of old versions of torch do not count batches.
    needed = {name: x for name, x in own.items() if name in found or not name.endswith("num_batches_tracked")}
    wrong = [f"{name} is missing" for name in needed if name not in found]
    wrong += [
        f"{name} is {tuple(found[name].shape)}, allowed is {tuple(x.shape)}"
        for name, x in needed.items()
        if name in found and found[name].shape != x.shape
    ]
    if wrong:
        more = f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise ValueError(f"weights: {path} does not fit the front end: {'; '.join(wrong[:8])}{more}")
    module.load_state_dict({**own, **{name: found[name] for name in needed}})


_IN_A_HYBRID = "network.0.layers."
"""Where a `hybrid.Hybrid`, or its twin, has the layers of its front end."""


def _read(path: str) -> dict[str, Tensor]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"weights: got {path}, which is no file; allowed is a .safetensors or .pt file")
    try:
        safe = file.suffix == ".safetensors"
        found: Any = load_file(file) if safe else torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can break its reader in any way
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"weights: {path} cannot be read: {said}") from error
    if not isinstance(found, Mapping):
        raise ValueError(f"weights: {path} holds a {type(found).__name__}, allowed is a state dict: tensors by name")
    return {name: x for name, x in found.items() if isinstance(x, Tensor)}


def _torchvision_model(name: str, weights: str | None) -> nn.Module:
    from torchvision import models  # takes a second that only those who want it should wait

    allowed = [model for model in models.list_models(module=models) if not model.startswith(_NO_ROW_OF_LAYERS)]
    if name not in allowed:
        near = get_close_matches(name, [SMALL, *allowed], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"front: got {name!r}, {hint}Allowed are {SMALL} and torchvision's {', '.join(allowed)}")
    try:
        return models.get_model(name, weights="DEFAULT" if weights == "DEFAULT" else None)
    except OSError as error:
        raise ValueError(
            f"weights: got DEFAULT, but they cannot be downloaded ({error}); allowed without a network is the path of "
            f"a file, from https://pytorch.org/vision/stable/models.html"
        ) from error


_NO_ROW_OF_LAYERS = ("googlenet", "inception", "swin", "vit")
"""Models that change images before their first layer, or see patches and not maps."""


def _up_to(module: nn.Module, path: list[str], model: str, layer: str) -> nn.Sequential:
    """Children in order, of which the last is the one that ``path`` leads to; their names stay."""
    layers, (first, *rest) = nn.Sequential(), path
    for name, child in module.named_children():
        if name == first and rest and not isinstance(child, (nn.Sequential, nn.ModuleList)):
            whole = layer.removesuffix("." + ".".join(rest))
            raise ValueError(f"layer: got {layer!r}, a part of a block of {model}; allowed is {whole}, all of it")
        layers.add_module(name, _up_to(child, rest, model, layer) if name == first and rest else child)
        if name == first:
            return layers
    allowed = ", ".join(name for name, _ in module.named_children()) or "none"
    raise ValueError(f"layer: got {layer!r}, of which {model} knows no {first!r}, allowed there are {allowed}")


def _see(front: nn.Module, in_channels: int) -> None:
    """Let the first convolution take images of ``in_channels``."""
    conv = next(layer for layer in front.modules() if isinstance(layer, nn.Conv2d))
    if conv.in_channels == in_channels:
        return
    weight, n = conv.weight.detach(), conv.in_channels
    if in_channels == 1:
        weight = weight.sum(1, keepdim=True)
    else:
        weight = weight.repeat(1, -(-in_channels // n), 1, 1)[:, :in_channels] * (n / in_channels)
    conv.weight, conv.in_channels = nn.Parameter(weight), in_channels
