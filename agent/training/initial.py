"""Weights from which the students of a training start, instead of new ones: those of a trained spiking network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from snn4.agent.config.file import ConfigError
from snn4.agent.models.files import ModelError, find_model, read_about, read_weights
from snn4.agent.models.other_data import read_for
from snn4.agent.models.sources import network_of, require_finite
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.training.config import TrainingConfig
from snn4.envs.data.datasets import Data
from snn4.policies.networks.state_dicts import load_state_dict

MODEL = "model.safetensors"
"""The spiking network in the folder of a training or of a conversion."""
ALLOWED = f"the folder of a training or conversion, with its {MODEL}, or zoo:NAME"
"""What may be named, for messages."""


def complete_network(raw: dict[str, Any]) -> Iterator[str]:
    """Put the network of the model that ``raw`` names into ``raw``, unless it names a network itself; yield problems.

    A ``network`` without a name changes single keys of the model's. As null, it is the same as left out.
    """
    if raw.get("network", {}) is None:
        del raw["network"]
    initial, changes = raw.get("initial"), raw.get("network", {})
    if not initial or not isinstance(initial, str) or not isinstance(changes, dict) or "name" in changes:
        return
    try:
        network: Any = network_of(_model_of(initial))
    except (ModelError, ConfigError) as error:
        yield f"initial: {error}"
        return
    if isinstance(network, dict) and "name" in network:
        raw["network"] = _merged(network, changes)
    else:
        yield f"initial: got {initial!r}, whose config names no network; allowed is {ALLOWED}"


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, mapping by mapping; a neuron with a profile is a whole one."""

    def changed(key: str, value: Any) -> Any:
        old = base.get(key)
        both = isinstance(old, dict) and isinstance(value, dict) and "profile" not in value
        return _merged(old, value) if both else value  # type: ignore[arg-type]

    return {**base, **{key: changed(key, value) for key, value in changes.items()}}


def _model_of(initial: str) -> Path:
    """The file of the spiking network in the folder ``initial``."""
    file = find_model(initial) / MODEL
    if not file.is_file():
        raise ModelError(f"got {initial!r}, allowed is {ALLOWED}")
    return file


def data_for(config: TrainingConfig) -> Data:
    """The data of the training, in the scale of the model from which it starts.

    Raises:
        ModelError: there is no such model, or it cannot take the data.
        ConfigError: the data cannot be read, or the config asks for another scale.
        MissingData: the data is missing.
    """
    file = _file(config)
    about = read_about(file)
    if problems := list(_other_scale(config, about)):
        raise ConfigError(config.name, problems)
    data = read_for(file, about, config.data, config.name)
    scale = f"mean {_numbers(data.mean)} and std {_numbers(data.std)}"
    note = f"the network starts from the weights of {config.initial}, and sees images in its scale, {scale}"
    return dataclasses.replace(data, notes=[*data.notes, note])


def _other_scale(config: TrainingConfig, about: Mapping[str, Any]) -> Iterator[str]:
    for key, wanted in (("mean", config.data.mean), ("std", config.data.std)):
        learned = tuple(about.get(key) or ()) or wanted
        if wanted is not None and wanted != learned:
            yield f"data.{key}: got {wanted}, allowed is {learned}, as {config.initial} has learned it; set null"


def start(config: TrainingConfig, networks: Mapping[str, nn.Module]) -> None:
    """Give ``networks``, by the names of their beings, the weights of the model.

    Raises:
        ConfigError: they differ in tensors; the message names the first ones.
        ModelError: a file is damaged.
    """
    file = _file(config)
    _load(config, "network", file, networks[NETWORK], "leave it out, or set null, to take that of the model")
    if ANN_TWIN in networks:
        path = file.with_name(f"{ANN_TWIN}.safetensors")
        if not path.is_file():
            raise ConfigError(config.name, [f"ann_twin: got true, but {config.initial} has no {path.name}; set false"])
        _load(config, "ann_twin", path, networks[ANN_TWIN], "set false")


def _load(config: TrainingConfig, key: str, file: Path, network: nn.Module, remedy: str) -> None:
    try:
        load_state_dict(network, read_weights(file), f"{file} does not fit")
    except ValueError as error:
        raise ConfigError(config.name, [f"{key}: {error}; {remedy}"]) from error
    require_finite(str(file), network)


def _file(config: TrainingConfig) -> Path:
    assert config.initial is not None
    try:
        return _model_of(config.initial)
    except ModelError as error:
        raise ConfigError(config.name, [f"initial: {error}"]) from error


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
