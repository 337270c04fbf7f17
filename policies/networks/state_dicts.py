"""Weights on disk, by whomever: tensors by name from ``.safetensors`` or torch's files; nothing else is unpickled."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

SUFFIXES = (".safetensors", ".pt", ".pth", ".th")
_WRAPPERS = ("state_dict", "model")
"""Entries under which training scripts save the weights, beside epochs and optimizers."""
_COUNTER = "num_batches_tracked"
"""The end of a norm's buffer that files of old torch versions lack, and that no evaluation reads."""
_SHOWN = 8
"""Number of differing tensors that a message lists."""


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """The tensors in ``file``, without wrappers and without the prefix ``module.`` of parallel training.

    Raises:
        ValueError: in one line with the file's name: it is missing, cannot be read, wants to run code, or holds no
            tensors, or NaN or infinity.
    """
    if not file.is_file():
        raise ValueError(f"{file}: no such file; allowed are files of weights ({', '.join(SUFFIXES)})")
    if file.suffix not in SUFFIXES:
        raise ValueError(f"{file}: got {file.suffix or 'no suffix'}, allowed are {', '.join(SUFFIXES)}")
    content = _read(file)
    weights = {str(name).removeprefix("module."): x for name, x in _unwrapped(content).items() if isinstance(x, Tensor)}
    if not weights:
        raise ValueError(f"{file}: got no tensors by name, allowed is a state dict, alone or under state_dict or model")
    for name, x in weights.items():
        if not torch.isfinite(x).all():
            raise ValueError(f"{file}: {name} holds NaN or infinity, allowed are finite numbers; take another file")
    return weights


def load_state_dict(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load ``weights`` into ``module``; nothing is loaded if they differ.

    Args:
        where: the beginning of the message: the file, and what it does not fit.

    Raises:
        ValueError: tensors are missing, left over or have another shape; lists the first eight.
    """
    current = module.state_dict()
    if wrong := list(_differences(current, weights)):
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ValueError(f"{where}: {'; '.join(wrong[:_SHOWN])}{more}")
    module.load_state_dict({**current, **weights})


def _differences(current: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Iterator[str]:
    needed = [name for name in current if not name.endswith(_COUNTER)]
    yield from (f"{name} is missing" for name in needed if name not in weights)
    yield from (f"{name} is not in the network" for name in weights if name not in current)
    for name, x in current.items():
        if name in weights and weights[name].shape != x.shape:
            yield f"{name} is {tuple(weights[name].shape)} in the file, {tuple(x.shape)} in the network"


def _unwrapped(content: Any) -> Mapping[str, Any]:
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    return content if isinstance(content, Mapping) else {}


def _read(file: Path) -> Any:
    try:
        return load_file(file) if file.suffix == ".safetensors" else _unpickled(file)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds {named[1]}, and could run code" if named else "is no checkpoint of torch, and could run code"
        raise ValueError(
            f"{file}: refused: it {what}; allowed is a state dict, as of torch.save(network.state_dict(), FILE)"
        ) from error
    except Exception as error:  # a damaged file can cause any error in its reader
        lines = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"{file}: cannot be read ({lines[0].split('. ')[0]})") from error


def _unpickled(file: Path) -> Any:
    # Training scripts save their arguments with the weights, as plain data in a Namespace.
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on old formats; an error says what is wrong
        return torch.load(file, map_location="cpu", weights_only=True)
