"""The test of a classifier: at the end of its training, and by the command ``evaluate``."""

from __future__ import annotations

from pathlib import Path

from snn4.agent.evaluation.classifier import Examination, ExaminationConfig
from snn4.agent.evaluation.shown import bars, examined
from snn4.agent.models.files import ModelError, load_model, read_about
from snn4.agent.models.other_data import read_for
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.training.config import TrainingConfig
from snn4.agent.training.students import students
from snn4.envs.data.datasets import Data
from snn4.learners.recipe import lay_out
from snn4.policies.networks.classifier import Network


def tested(config: TrainingConfig, folder: Path, steps: int | None) -> Examination:
    """Test the models in ``folder`` on the test data of ``config``.

    Raises:
        ModelError: there is no model, it is damaged or of another architecture, or it cannot take the data.
        ConfigError, MissingData: there is no such data, or it cannot be read.
    """
    path = folder / "model.safetensors"
    data = read_for(path, read_about(path), config.data, config.name)
    models = _models(folder, config, data)
    try:
        with bars() as progress:
            return examined(models, data, ExaminationConfig(steps=steps, flip=config.flip), progress)
    except ValueError as error:  # more steps than bins of events, or than a norm of each step has
        raise ModelError(f"{folder}: {error}") from error


def _models(folder: Path, config: TrainingConfig, data: Data) -> dict[str, Network]:
    """The network in ``folder``, and its twin if the folder has one."""
    models = {student.name: student.network for student in students(config, data)}
    files = {NETWORK: folder / "model.safetensors", ANN_TWIN: folder / f"{ANN_TWIN}.safetensors"}
    if not files[ANN_TWIN].is_file():
        models.pop(ANN_TWIN, None)
    for name, network in models.items():
        load_model(files[name], network)
        lay_out(network, config.training)  # as in the training, so that results are equal to the last bit
    return models
