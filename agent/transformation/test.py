"""The tests of converted and of compressed networks, beside what they were made from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from snn4.agent.config.file import built
from snn4.agent.evaluation.classifier import Examination, ExaminationConfig
from snn4.agent.evaluation.shown import InOrder, bars, examined
from snn4.agent.models.files import ModelError, load_model, read_about
from snn4.agent.models.other_data import read_for
from snn4.agent.models.sources import open_model
from snn4.agent.models.twins import networks
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.transformation.comparison import AFTER, BEFORE, ORIGINAL, grid_of, indicators
from snn4.agent.transformation.config import TransformationConfig
from snn4.envs.data.datasets import Data
from snn4.policies.compression.config import CompressionConfig
from snn4.policies.networks.classifier import Network, SpikingClassifier
from snn4.policies.networks.config import NetworkConfig


def tested(config: TransformationConfig, folder: Path, steps: int | None) -> dict[str, Any]:
    """Test the converted network in ``folder``, and its ANN, on the test data of ``config``.

    Raises:
        ModelError: there is no model yet, it is damaged, or it cannot take the data.
        ConfigError, MissingData: there is no such data, or it cannot be read.
    """
    path = folder / "model.safetensors"
    about = read_about(path)
    data = read_for(path, about, config.data, config.name)
    return _examined(converted(folder, about), data, folder, about, steps).to_json()


def tested_beside(config: TransformationConfig, folder: Path, steps: int | None) -> dict[str, Any]:
    """Test the compressed network in ``folder`` on the test data of ``config``, also beside the uncompressed one.

    Raises:
        ModelError, ConfigError, MissingData: as `tested`.
    """
    assert config.compress is not None
    path = folder / "model.safetensors"
    about = read_about(path)
    data = read_for(path, about, config.data, config.name)
    examination = _examined({NETWORK: _spiking(path)}, data, folder, about, steps)
    rows = beside(config.compress, folder, data, steps)
    return {
        **examination.to_json(), "comparison": rows, "part": "test", "compressed": dataclasses.asdict(config.compress)
    }  # fmt: skip


def beside(compress: CompressionConfig, folder: Path, data: Data, steps: int | None = None) -> dict[str, Any]:
    """The indicators of the uncompressed and of the compressed network in ``folder``, on test data."""
    files = {BEFORE: (ORIGINAL, None), AFTER: ("model", grid_of(compress))}
    return {
        name: indicators(_spiking(folder / f"{file}.safetensors"), InOrder(data.test), len(data.test), grid, steps)
        for name, (file, grid) in files.items()
    }


def _spiking(path: Path) -> SpikingClassifier:
    network, _ = open_model(str(path))
    assert isinstance(network, SpikingClassifier)
    return network


def _examined(
    models: dict[str, Any], data: Data, folder: Path, about: dict[str, Any], steps: int | None
) -> Examination:
    burn_in = about["network"]["options"].get("burn_in", 0)
    if steps is not None and steps <= burn_in:
        raise ModelError(f"{folder}: got {steps} steps, allowed are more than its burn_in ({burn_in})")
    try:
        with bars() as progress:
            return examined(models, data, ExaminationConfig(steps=steps), progress)
    except ValueError as error:
        raise ModelError(f"{folder}: {error}") from error


def converted(folder: Path, about: dict[str, Any]) -> dict[str, Network]:
    """The spiking network in ``folder``, and its ANN, which an imported network does not have."""
    height, width = about["image_size"]
    config: NetworkConfig = built(about["network"], NetworkConfig)
    twin = folder / f"{ANN_TWIN}.safetensors"
    models = networks(config, (about["in_channels"], (height, width), about["n_classes"]), 0, twin.is_file())
    load_model(folder / "model.safetensors", models[NETWORK])
    if ANN_TWIN in models:
        load_model(twin, models[ANN_TWIN])
    return models
