"""Trained classifiers from anywhere: run folders, the zoo, files of weights, torchvision and timm."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from snn4.agent.config.file import built, mismatches
from snn4.agent.config.file import read as read_config
from snn4.agent.models.files import ModelError, find_model, load_model, read_about
from snn4.agent.models.twins import networks
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.policies.networks.architectures import ARCHITECTURES, make_architecture, timm_model, torchvision_model
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.rescaled import Rescaled
from snn4.policies.networks.state_dicts import load_state_dict, read_state_dict

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and std of ImageNet's channels, with which the published ResNets with option A were also trained on CIFAR."""

ALLOWED = (
    "allowed are the folder of a training, zoo:NAME, a file of weights with its architecture, torchvision:NAME and "
    "timm:NAME"
)
"""The sources, for messages."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Trained classifiers, one or several, that are opened together."""

    source: str | tuple[str, ...] = ()
    """The folder of a training (its ANN twin, else its network), one of the model files in it, zoo:NAME, a file of
    weights with its ``architecture``, torchvision:NAME or timm:NAME. The mean probabilities of several count."""
    architecture: str | tuple[str, ...] | None = None
    """For files of weights: resnet-20-a, resnet-32-a, resnet-44-a, resnet-56-a, torchvision:NAME or timm:NAME; one for
    all, or one for each source."""
    mean: tuple[float, ...] | None = None
    """Mean of each channel in the training of the sources, which then see their own scale. None: what they say."""
    std: tuple[float, ...] | None = None
    """Standard deviation of each channel; set it together with ``mean``."""

    def __post_init__(self) -> None:
        if not all(self.names):
            raise ValueError(f"source: got an empty name, {ALLOWED}")
        if isinstance(self.architecture, tuple) and len(self.architecture) != len(self.names):
            got = f"{len(self.architecture)} for {len(self.names)} sources"
            raise ValueError(f"architecture: got {got}, allowed are one for all, or one for each")
        if len(self.mean or ()) != len(self.std or ()):
            raise ValueError(f"std: got {self.std}, allowed are as many numbers as in mean, {self.mean}")
        if not all(value > 0 for value in self.std or ()):
            raise ValueError(f"std: got {self.std}, allowed are numbers > 0")

    @property
    def names(self) -> tuple[str, ...]:
        """All sources."""
        return (self.source,) if isinstance(self.source, str) else self.source

    def opened(self) -> Iterator[tuple[nn.Module, About]]:
        """Each classifier; see `open_model`."""
        each = self.architecture if isinstance(self.architecture, tuple) else (self.architecture,) * len(self.names)
        for name, architecture in zip(self.names, each, strict=True):
            yield open_model(name, architecture, self.mean, self.std)


@dataclass(frozen=True)
class About:
    """What a trained classifier has learned, and expects; None where nothing is known."""

    source: str
    n_classes: int
    in_channels: int
    image_size: tuple[int, int] | None = None
    """Height and width; many networks also take others."""
    mean: tuple[float, ...] | None = None
    """Of each channel, subtracted from images in 0 to 1 (events: from counts)."""
    std: tuple[float, ...] | None = None
    """Of each channel; the difference is then divided by it."""
    classes: tuple[str, ...] | None = None

    def check(self, in_channels: int, n_classes: int) -> None:
        """ModelError unless the classifier can take data of this size."""
        wanted = {"channels": (self.in_channels, in_channels), "classes": (self.n_classes, n_classes)}
        for name, (got, allowed) in wanted.items():
            if got != allowed:
                raise ModelError(f"{self.source}: has {got} {name}, allowed are {allowed}, those of the data")


def open_model(
    source: str, architecture: str | None = None, mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> tuple[nn.Module, About]:  # fmt: skip
    """The classifier of ``source`` in eval mode, and what is known about it.

    Args:
        source: the folder of a training, whose ANN twin is taken if it has one, else its spiking network; one of the
            two files in it; ``zoo:NAME``; a file of weights, with its ``architecture``; or ``torchvision:NAME`` and
            ``timm:NAME``, which download pretrained weights.
        architecture: the name of a network in `make_architecture`, for a file of weights; the others say it themselves.
        mean: of each channel, with which the classifier's inputs were normalised; None takes what the source says.
        std: likewise; both are given, or none.

    Raises:
        ModelError: in one line: there is no such classifier, its file is damaged, unsafe or of another architecture, or
            weights cannot be downloaded.
    """
    try:
        network, about = _opened(source, architecture)
    except (ValueError, ImportError) as error:
        message = str(error)
        raise ModelError(message if source in message else f"{source}: {message}") from error
    if (mean is None) != (std is None):
        raise ModelError(f"{source}: got one of mean and std, allowed are both or none")
    if mean is not None:
        about = dataclasses.replace(about, mean=mean, std=std)
    return network.eval(), about


def rescaled(network: nn.Module, about: About, mean: tuple[float, ...], std: tuple[float, ...]) -> nn.Module:
    """``network`` for data normalised by ``mean`` and ``std``; unchanged if that is what it has learned, or unknown."""
    if about.mean is None or about.std is None or (about.mean, about.std) == (mean, std):
        return network
    try:
        return Rescaled(network, (mean, std), (about.mean, about.std)).train(network.training)
    except ValueError as error:
        raise ModelError(f"{about.source}: {error}") from error


def _opened(source: str, architecture: str | None) -> tuple[nn.Module, About]:
    library, _, name = source.partition(":")
    path = Path(source).expanduser()
    match library:
        case "torchvision":
            return _from_torchvision(source, name)
        case "timm":
            return _from_timm(source, name)
    folder = find_model(source) if library == "zoo" else path
    if folder.is_dir():
        twin = folder / f"{ANN_TWIN}.safetensors"
        return _from_training(source, twin if twin.is_file() else folder / "model.safetensors")
    if not folder.exists():
        raise ModelError(f"{source}: no such file or folder; {ALLOWED}")
    if folder.suffix == ".safetensors" and folder.with_name("config.yaml").is_file():
        return _from_training(source, folder)
    if architecture is None:
        names = ", ".join(ARCHITECTURES)
        raise ModelError(
            f"{source}: got no architecture, allowed for a file of weights are {names}, torchvision:NAME, timm:NAME"
        )
    return _from_file(source, folder, architecture)


def network_of(file: Path) -> dict[str, Any]:
    """The fields of the `NetworkConfig` of the model in ``file``, which a training or a transformation has written."""
    raw, _ = read_config(file.with_name("config.yaml"))
    return read_about(file).get("network") or raw.get("network") or {}


def _from_training(source: str, file: Path) -> tuple[nn.Module, About]:
    """The spiking network or the ANN twin that a training has written into ``file``."""
    about = read_about(file)
    network = network_of(file)
    if problems := mismatches(network, NetworkConfig):
        raise ModelError(f"{source}: config.yaml: network.{problems[0]}")
    try:
        size = about["in_channels"], (about["image_size"][0], about["image_size"][1]), about["n_classes"]
    except (LookupError, TypeError) as error:
        raise ModelError(
            f"{source}: {file.name} does not say of what data it is; allowed is that of a training"
        ) from error
    name = ANN_TWIN if file.stem == ANN_TWIN else NETWORK
    with torch.random.fork_rng(devices=[]):
        module = networks(built(network, NetworkConfig), size, 0, name == ANN_TWIN)[name]
    load_model(file, module)
    require_finite(source, module)
    known: dict[str, Any] = {key: tuple(about[key]) for key in ("mean", "std", "classes") if key in about}
    return module, About(source, size[2], size[0], size[1], **known)


def _from_file(source: str, file: Path, architecture: str) -> tuple[nn.Module, About]:
    """The network called ``architecture`` with the weights in ``file``, which also show its channels and classes."""
    weights = read_state_dict(file)
    with torch.device("meta"):
        sketch = make_architecture(architecture)
    convs = [name for name, layer in sketch.named_modules() if isinstance(layer, nn.Conv2d)]
    readouts = [name for name, layer in sketch.named_modules() if isinstance(layer, nn.Linear)] or convs
    first, last = (weights.get(f"{name}.weight") for name in (convs[0], readouts[-1]))
    n_classes = 10 if last is None else len(last)
    in_channels = 3 if first is None or first.dim() != 4 else first.shape[1]
    with torch.random.fork_rng(devices=[]):
        network = make_architecture(architecture, n_classes, in_channels)
    load_state_dict(network, weights, f"{source}: does not fit {architecture}")
    if architecture not in ARCHITECTURES:
        return network, About(source, n_classes, in_channels)
    return network, About(source, n_classes, in_channels, (32, 32), *(IMAGENET if in_channels == 3 else ()))


def _from_torchvision(source: str, name: str) -> tuple[nn.Module, About]:
    from torchvision import models

    try:
        network = torchvision_model(name, weights="DEFAULT")
    except OSError as error:
        raise ModelError(_offline(source, error)) from error
    weights: Any = models.get_model_weights(name)["DEFAULT"]
    seen = weights.transforms()
    side = seen.crop_size[0]
    classes = tuple(weights.meta["categories"])
    return network, About(source, len(classes), 3, (side, side), tuple(seen.mean), tuple(seen.std), classes)


def _from_timm(source: str, name: str) -> tuple[nn.Module, About]:
    try:
        network = timm_model(name, pretrained=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: timm has no weights for it
        raise ModelError(_offline(source, error)) from error
    known: Any = network.pretrained_cfg
    channels, height, width = known["input_size"]
    return network, About(source, known["num_classes"], channels, (height, width), known["mean"], known["std"])


def _offline(source: str, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"{source}: its weights cannot be had ({reason}); allowed offline is their file, with architecture: {source}"


def require_finite(source: str, network: nn.Module) -> None:
    """ModelError if a tensor of ``network`` is not finite."""
    for name, x in network.state_dict().items():
        if not torch.isfinite(x).all():
            raise ModelError(f"{source}: {name} holds NaN or infinity, allowed are finite numbers; take another model")
