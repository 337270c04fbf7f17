"""The test of a converted network: all indicators on test data, beside the ANN that it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snn4.agent.config.file import built
from snn4.agent.evaluation.classifier import Examination, ExaminationConfig
from snn4.agent.evaluation.shown import bars, examined
from snn4.agent.models.files import ModelError, load_model, read_about
from snn4.agent.models.other_data import read_for
from snn4.agent.models.twins import networks
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.transformation.config import TransformationConfig
from snn4.policies.networks.classifier import Network
from snn4.policies.networks.config import NetworkConfig


def tested(config: TransformationConfig, folder: Path, steps: int | None) -> Examination:
    """Test the models in ``folder`` on the test data of ``config``.

    Raises:
        ModelError: there is no model yet, it is damaged, or it cannot take the data.
        ConfigError, MissingData: there is no such data, or it cannot be read.
    """
    path = folder / "model.safetensors"
    about = read_about(path)
    data = read_for(path, about, config.data, config.name)
    models = converted(folder, about)
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
