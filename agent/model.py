"""Trained classifiers on disk: a folder with ``config.yaml`` and ``model.safetensors``, as a training leaves it."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

ZOO = Path(__file__).parent.parent / "benchmarks" / "zoo"
"""Models that come with the package: ``zoo:fashion-mnist``."""


class ModelError(ValueError):
    """No model, or one of another architecture."""


def find_model(name: str) -> Path:
    """The folder of a model: a path, or ``zoo:NAME``."""
    if not name.startswith("zoo:"):
        return Path(name)
    shipped = sorted(path.name for path in ZOO.glob("*") if (path / "model.safetensors").is_file())
    if (chosen := name.removeprefix("zoo:")) not in shipped:
        raise ModelError(f"{name}: no such model; shipped are {', '.join(f'zoo:{model}' for model in shipped)}")
    return ZOO / chosen


def save_model(path: Path, network: nn.Module) -> None:
    """Write the weights of ``network``, as a whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(to_bytes({name: x.detach().cpu().contiguous() for name, x in network.state_dict().items()}))
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def load_model(path: Path, network: nn.Module) -> None:
    """Read the weights of ``network``.

    Raises:
        ModelError: there is no such file, it is damaged, or it is of another architecture: lists the tensors.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file; allowed is the model of a finished training")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    own = network.state_dict()
    differing = [f"{name} is missing" for name in own if name not in weights]
    differing += [f"{name} is not in the network" for name in weights if name not in own]
    differing += [
        f"{name} is {tuple(weights[name].shape)} in the file, {tuple(own[name].shape)} in the network"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if differing:
        shown = "; ".join(differing[:8]) + (f"; and {len(differing) - 8} more" if len(differing) > 8 else "")
        raise ModelError(f"{path}: of another architecture than its config: {shown}")
    network.load_state_dict(weights)
