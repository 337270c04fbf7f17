"""The file of a deployed policy: arrays (``.npz``) and one line of JSON; nothing in it is executed."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.policies.deploy.network import Head, Memory, Network, Statistics
from snn4.policies.engine.plain import Code, Layer

FORMAT = 1
"""Version of the file; a reader refuses others."""
HOW = "write it with: snn4-agent export RUN --target deploy -o FILE.npz"
Arrays = dict[str, NDArray[Any]]


class DeployError(ValueError):
    """The file is no deployed policy, or the policy cannot be deployed."""

    exit_status = 2  # of the command line


def write_network(network: Network, path: Path) -> None:
    """Write ``network`` into the new file ``path``, completely or not at all."""
    about = {"format": FORMAT, "layers": len(network.layers), "shape": network.shape, "code": network.code.kind,
             "options": network.code.options, "actions": network.head.kind}  # fmt: skip
    parts: dict[str, Any] = {
        "code": network.code,
        "head": network.head,
        "memory": network.memory,
        "statistics": network.statistics,
    }
    parts |= {f"layer{number}": layer for number, layer in enumerate(network.layers)}
    arrays = {
        f"{name}.{field}": value
        for name, part in parts.items() if part is not None
        for field, value in part._asdict().items() if isinstance(value, np.ndarray)
    }  # fmt: skip
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, about=np.array(json.dumps(about)), decoder=network.decoder, **arrays)  # type: ignore[arg-type]
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read_network(path: Path) -> Network:
    """The network in ``path``.

    Raises:
        DeployError: there is no such file, it is of another version, or it is damaged.
    """
    if not path.is_file():
        raise DeployError(f"{path}: no such file; allowed is a deployed policy: {HOW}")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: np.asarray(array, order="C") for name, array in file.items()}
        about = json.loads(str(arrays.pop("about")))
        if about["format"] != FORMAT:
            raise DeployError(f"{path}: got format {about['format']}, allowed is {FORMAT}; export the policy again")
        network = _network(about, arrays)
    except DeployError:
        raise
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        problem = " ".join(str(error).split())[:100]
        raise DeployError(f"{path}: is no deployed policy, or is damaged ({problem}); {HOW}") from None
    _check(network, path)
    return network


def _network(about: dict[str, Any], arrays: Arrays) -> Network:
    def part(name: str) -> Arrays:
        return {key.partition(".")[2]: value for key, value in arrays.items() if key.startswith(f"{name}.")}

    layers = tuple(Layer(**part(f"layer{number}")) for number in range(about["layers"]))
    code, head = Code(about["code"], about["options"], **part("code")), Head(kind=about["actions"], **part("head"))
    network = Network(tuple(about["shape"]), layers, arrays["decoder"], code, head)
    memory, statistics = part("memory"), part("statistics")
    return replace(
        network,
        memory=Memory(**memory) if memory else None,
        statistics=Statistics(**statistics) if statistics else None,
    )


def _check(network: Network, path: Path) -> None:
    """DeployError unless all arrays fit each other: compiled code does not look."""
    width = _signal_width(network)
    for number, layer in enumerate(network.layers):
        n, membranes = len(layer.bias), int(layer.flags[0])
        shapes = ((width, n), (n,), *[(membranes, n)] * 3, (6,), (4,), ())
        for (name, array), shape in zip(layer._asdict().items(), shapes, strict=True):
            _require(path, f"layer{number}.{name}", array, shape, np.int64 if name == "flags" else np.float32)
        width = n
    _require(path, "decoder", network.decoder, (network.decoder.size,), np.float32)
    _require(path, "head.weight", network.head.weight, (len(network.head.bias), width), np.float32)


def _signal_width(network: Network) -> int:
    n = int(np.prod(network.shape))
    if network.memory is not None:
        return n * (1 + len(network.memory.dendrites))
    return {"population": network.code.first.size, "delta": 2 * n}.get(network.code.kind, n)


def _require(path: Path, name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype or not np.isfinite(array).all():
        got = f"shape {array.shape} of {array.dtype}"
        raise DeployError(f"{path}: {name}: got {got}, allowed are finite numbers of shape {shape}; {HOW}")
