"""The kind ``transformation``: a trained model becomes another one; see `Kind`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from snn4.agent.config.file import ConfigError, checked
from snn4.agent.models.files import ModelError
from snn4.agent.models.nir_file import is_nir
from snn4.agent.models.other_data import on_other_data
from snn4.agent.models.other_data import read as read_data
from snn4.agent.models.sources import open_model
from snn4.agent.run.events import Event
from snn4.agent.run.place import Place
from snn4.agent.run.work import OneProcess, Processes, Work
from snn4.agent.show import classifier_page
from snn4.agent.transformation import page
from snn4.agent.transformation.config import TransformationConfig
from snn4.agent.transformation.test import tested
from snn4.agent.transformation.transformation import Transformation
from snn4.policies.allocation import keep_freed_memory
from snn4.policies.networks.classifier import SpikingClassifier

name = "transformation"
schema: type = TransformationConfig
shorthands: Mapping[str, str] = {}
options: Mapping[str, str | None] = {"root": "data.root", "data": None, "steps": None}


def read(raw: dict[str, Any], source: str, overrides: Sequence[str]) -> TransformationConfig:
    return checked(raw, source, overrides, TransformationConfig)  # type: ignore[no-any-return]


def processes(config: TransformationConfig) -> Processes:
    return OneProcess()


def prepare(config: TransformationConfig, processes: Processes) -> Work:
    _set_up(config)
    if config.environment is not None:
        from snn4.agent.transformation.policy import PolicyTransformation  # imports stable-baselines3

        return PolicyTransformation(config)
    if is_nir(config.model.source):
        from snn4.agent.transformation.nir_import import NirImport  # its package is optional

        return NirImport(config)
    network, about = open_model(config.model.source, config.model.architecture, config.model.mean, config.model.std)
    if isinstance(network, SpikingClassifier):
        raise ModelError(f"{config.model.source}: is a spiking network already; allowed is an ANN, such as an ANN twin")
    data_config = config.data
    if about.mean is not None:  # the network goes on seeing images as it has learned them
        data_config = dataclasses.replace(data_config, mean=about.mean, std=about.std)
    data = read_data(data_config, config.name)
    about.check(data.in_channels, data.n_classes)
    batches = data.train.batches(min(config.convert.images, len(data.train)), shuffle_seed=config.seed, augment=False)
    calibration = next(iter(batches))[0]
    try:
        return Transformation(config, data, network, about, calibration)
    except ValueError as error:
        raise ConfigError(config.name, [f"{config.model.source}: {error}"]) from error


def evaluate(
    config: TransformationConfig, folder: Path, options: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    _set_up(config)
    if config.environment is not None:
        raise ModelError(f"{folder}: is the conversion of an agent; play it with SB3: load {folder / 'agent.zip'}")
    config = on_other_data(config, folder, options)
    result = tested(config, folder, options.get("steps"))
    return {**result.to_json(), "config": dataclasses.asdict(config)}, []


def _set_up(config: TransformationConfig) -> None:
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()


def about(config: TransformationConfig) -> dict[str, Any]:
    return {"data": config.environment or config.data.name, "model": config.model.source}


def title(config: Mapping[str, Any]) -> str:
    return f"{config['name']}: {config['model']['source']}"


def tables(summary: Mapping[str, Any]) -> RenderableType:
    """The diagnosis of a run, or the test of ``evaluate``."""
    if "scores" in summary:
        return page.policy_tables(summary)
    if "imported" in summary:
        return page.imported_tables(summary)
    return page.tables(summary) if "diagnosis" in summary else classifier_page.tables(summary)


def sections(events: Iterable[Event], summary: Mapping[str, Any] | None) -> Iterator[str]:
    """The page of a run, or of ``evaluate``."""
    if summary is not None and "scores" in summary:
        return page.policy_sections(summary)
    if summary is not None and "imported" in summary:
        return page.imported_sections(summary)
    if summary is not None and "diagnosis" not in summary:  # the events tell of the conversion, not of its test
        return classifier_page.sections((), summary)
    return page.sections(events, summary)


def plan(config: TransformationConfig, places: Mapping[str, Place]) -> RenderableType:
    """One row: model, data, method, steps."""
    table = Table(title=f"{config.name}, seed {config.seed}")
    for column in ("model", "data", "method", "neuron", "T", "calibration images", "finetuning"):
        table.add_column(column)
    convert = config.convert
    epochs = f"{config.finetune.epochs} epochs" if convert.method == "qcfs" else "-"
    cells = (
        config.model.source, config.environment or config.data.name, convert.method, convert.neuron, str(convert.T),
        f"{convert.images:,}", epochs,
    )  # fmt: skip
    table.add_row(*map(Text, cells))
    return Group(table)
