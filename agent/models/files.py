"""Trained classifiers on disk: folders with ``config.yaml`` and ``model.safetensors``, as a training writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from snn4.agent.errors import BadInput
from snn4.policies.networks.state_dicts import load_state_dict

ZOO = Path(__file__).parents[2] / "benchmarks" / "zoo"
"""Models that come with the package: ``zoo:fashion-mnist``."""


class ModelError(BadInput):
    """There is no model, or it does not fit."""


def find_model(name: str) -> Path:
    """The folder of a model: a path, or ``zoo:NAME``."""
    if not name.startswith("zoo:"):
        return Path(name)
    shipped = sorted(path.parent.name for path in ZOO.glob("*/model.safetensors"))
    if (chosen := name.removeprefix("zoo:")) not in shipped:
        names = ", ".join(f"zoo:{model}" for model in shipped) or "none"
        raise ModelError(f"{name}: no such model; shipped are {names}")
    return ZOO / chosen


def save_model(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write ``weights`` and plain data ``about`` them, completely or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    tensors = {name: x.detach().cpu().contiguous() for name, x in weights.items()}
    try:
        partial.write_bytes(to_bytes(tensors, {"about": json.dumps(about)}))
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_about(path: Path) -> dict[str, Any]:
    """The data ``about`` the weights in ``path`` that `save_model` wrote; empty if there is none.

    Raises:
        ModelError: there is no such file, or it is damaged.
    """
    with _readable(path), safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {}).get("about", "{}"))  # type: ignore[no-any-return]


def data_of(name: str) -> str | None:
    """The data set that a model has learned; None if it does not say so."""
    if not (folder := find_model(name)).is_dir() or not (path := folder / "model.safetensors").is_file():
        return None
    return read_about(path).get("data")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors by name in ``path`` that `save_model` wrote; ModelError as `read_about`."""
    with _readable(path):
        return load_file(path)


def load_model(path: Path, network: nn.Module) -> None:
    """Load the weights in ``path`` into ``network``.

    Raises:
        ModelError: there is no such file, it is damaged, or it is of another architecture; lists the tensors.
    """
    weights = read_weights(path)
    try:
        load_state_dict(network, weights, f"{path}: of another architecture than its config")
    except ValueError as error:
        raise ModelError(str(error)) from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; allowed is the model of a training after its first validation")
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
