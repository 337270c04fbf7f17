"""Architectures of ANN classifiers by name, for teachers and conversion: modules with random weights.

``resnet-20-a`` and its deeper sisters are the ResNets for CIFAR of He et al. (2016) with parameter-free shortcuts
(option A). ``torchvision:NAME`` and ``timm:NAME`` are those libraries' classifiers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

ARCHITECTURES = {f"resnet-{6 * blocks + 2}-a": blocks for blocks in (3, 5, 7, 9)}
"""Blocks per stage of each named ResNet."""
LIBRARIES = ("torchvision", "timm")


def make_architecture(name: str, n_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """The classifier ``name``, images (B, C, H, W) -> scores (B, n_classes), with random weights.

    Raises:
        ValueError: there is no such architecture, or it cannot take so many channels; lists near names.
        ImportError: the library is not installed; the message says how to get it.
    """
    library, _, model = name.partition(":")
    match library:
        case "torchvision":
            if in_channels != 3:
                raise ValueError(f"in_channels: got {in_channels}, allowed is 3 for {name}")
            return torchvision_model(model, num_classes=n_classes)
        case "timm":
            return timm_model(model, num_classes=n_classes, in_chans=in_channels)
    if name not in ARCHITECTURES:
        raise ValueError(_unknown(name, ARCHITECTURES, f"{', '.join(ARCHITECTURES)}, torchvision:NAME, timm:NAME"))
    return ResNetA(ARCHITECTURES[name], n_classes, in_channels)


def torchvision_model(name: str, **arguments: Any) -> nn.Module:
    """A classifier of torchvision; ValueError for an unknown name."""
    from torchvision import models  # here, because this import takes a second

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(_unknown(name, known, "the names in torchvision.models.list_models()", "torchvision:"))
    if name in ("googlenet", "inception_v3"):
        # Their weights with auxiliary heads load into no model without; drawing random ones takes minutes.
        arguments = {"aux_logits": True, "init_weights": False, **arguments}
    return models.get_model(name, **arguments)  # type: ignore[no-any-return]


def timm_model(name: str, **arguments: Any) -> nn.Module:
    """A classifier of timm; ValueError for an unknown name, ImportError without timm."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"timm:{name} needs timm, which is not installed; pip install timm") from error
    if not timm.is_model(name):
        raise ValueError(_unknown(name, timm.list_models(), "the names in timm.list_models()", "timm:"))
    return timm.create_model(name, **arguments)  # type: ignore[no-any-return]


def _unknown(name: str, known: Sequence[str] | dict[str, int], allowed: str, prefix: str = "") -> str:
    near = [f"{prefix}{other}" for other in get_close_matches(name, known, n=3)]
    hint = f"did you mean {' or '.join(near)}? Allowed" if near else "allowed"
    return f"architecture: got {prefix + name!r}, {hint} are {allowed}"


class ResNetA(nn.Sequential):
    """A ResNet for small images (He et al. 2016, section 4.2), with three stages of 16, 32 and 64 channels.

    Names of layers are those of published checkpoints. Every ReLU is a module of its own, so that ``torch.fx`` finds
    the place of each.

    Args:
        blocks: residual blocks per stage; the network has ``6 * blocks + 2`` layers with weights.
    """

    def __init__(self, blocks: int, n_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(*_stage(blocks, 16, 16))
        self.layer2 = nn.Sequential(*_stage(blocks, 16, 32))
        self.layer3 = nn.Sequential(*_stage(blocks, 32, 64))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(64, n_classes)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight)


class Block(nn.Module):
    """Two convolutions beside a shortcut without weights: ``relu(branch(x) + shortcut(x))``."""

    def __init__(self, width: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = OptionA(width, channels, stride) if (width, stride) != (channels, 1) else nn.Identity()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.shortcut(x))  # type: ignore[no-any-return]


class OptionA(nn.Module):
    """Every ``stride``-th pixel, with channels of zeros before and after: (B, width, H, W) -> (B, channels, …)."""

    def __init__(self, width: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (channels - width) // 2
        self.after = channels - width - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, zeros=({self.before}, {self.after})"


def _conv(width: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width, channels, 3, stride, 1, bias=False)


def _stage(blocks: int, width: int, channels: int) -> Iterator[Block]:
    yield Block(width, channels, 1 if width == channels else 2)
    for _ in range(blocks - 1):
        yield Block(channels, channels, 1)
