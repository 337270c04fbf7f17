"""The files that stable-baselines3 saves, read without unpickling: nothing in them is executed.

The zip of an agent holds ``data``, JSON in which every pickle has a readable form beside it, and ``policy.pth``, the
tensors of its policy by name.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Weights = dict[str, Tensor]
LARGEST = 2**32
"""Bytes of a part of the zip; a larger one is not read."""
PARTS = ("data", "policy.pth")


class BadAgent(ValueError):
    """The file is no agent that can be used; the message names the file."""

    exit_status = 2  # of the command line


def read_weights(path: Path) -> Weights:
    """The tensors by name of the policy in ``path``, which may be SB3's or this project's.

    Raises:
        BadAgent: there is no such file, it is damaged, it holds more than tensors, or a number is not finite.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of files that it then refuses
            weights = torch.load(io.BytesIO(_part(path, "policy.pth")), map_location="cpu", weights_only=True)
    except BadAgent:
        raise
    except Exception as error:  # torch raises many types for files that are damaged or hold more than tensors
        problem = " ".join(str(error).split())[:120] or repr(error)
        raise BadAgent(f"{path}: policy.pth holds more than tensors, or is damaged ({problem}); save it anew") from None
    if not isinstance(weights, dict) or not weights or not all(isinstance(x, Tensor) for x in weights.values()):
        raise BadAgent(f"{path}: policy.pth: got no tensors by name, allowed is the state_dict of a policy")
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise BadAgent(f"{path}: policy.pth: {name} holds NaN or infinity; allowed are finite weights")
    return dict(weights)


def read_data(path: Path) -> dict[str, Any]:
    """The JSON of the agent in ``path``, with pickles that stay as they are; BadAgent for a damaged file."""
    try:
        data = json.loads(_part(path, "data"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadAgent):
            raise
        raise BadAgent(f"{path}: data: cannot be read as JSON ({error}); save the agent anew") from None
    return data if isinstance(data, dict) else {}


def _part(path: Path, name: str) -> bytes:
    if not path.is_file():
        raise BadAgent(f"{path}: no such file; allowed is a .zip that SB3's save wrote")
    try:
        with zipfile.ZipFile(path) as archive:
            if missing := [part for part in PARTS if part not in archive.namelist()]:
                raise BadAgent(
                    f"{path}: got no {' and no '.join(missing)} in it, allowed is a .zip that SB3's save wrote"
                )
            if (size := archive.getinfo(name).file_size) > LARGEST:
                raise BadAgent(f"{path}: {name}: got {size:,} bytes, allowed are up to {LARGEST:,}")
            return archive.read(name)
    except BadAgent:
        raise
    except Exception as error:  # zipfile raises many types for damaged archives
        raise BadAgent(f"{path}: cannot be read ({error}); allowed is a .zip that SB3's save wrote") from None
