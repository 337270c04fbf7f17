"""The kind ``training``: a classifier on one data set, beside its ANN twin; see `Kind`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from snn4.agent.config.file import ConfigError, built, mismatches, overridden
from snn4.agent.models.other_data import on_other_data
from snn4.agent.run.beings import name_of
from snn4.agent.run.place import Place
from snn4.agent.run.work import Processes
from snn4.agent.show.classifier_page import sections as sections
from snn4.agent.show.classifier_page import tables as tables
from snn4.agent.training.config import TrainingConfig
from snn4.agent.training.initial import complete_network
from snn4.agent.training.processes import FabricProcesses, launched
from snn4.agent.training.students import data_and_students
from snn4.agent.training.test import tested
from snn4.agent.training.training import Training
from snn4.policies.allocation import keep_freed_memory

name = "training"
schema: type = TrainingConfig
shorthands: Mapping[str, str] = {"backend": "network.backend", "teacher": "teacher.source"}
options: Mapping[str, str | None] = {"root": "data.root", "data": None, "steps": None}


def read(raw: dict[str, Any], source: str, overrides: Sequence[str]) -> TrainingConfig:
    problems = [*overridden(raw, overrides), *complete_network(raw)]
    problems += mismatches(raw, TrainingConfig)
    if problems:
        raise ConfigError(source, problems)
    return built(raw, TrainingConfig)  # type: ignore[no-any-return]


def processes(config: TrainingConfig) -> FabricProcesses:
    return launched(config)


def prepare(config: TrainingConfig, processes: Processes) -> Training:
    assert isinstance(processes, FabricProcesses)
    data, pupils = data_and_students(config)
    if config.teacher is None:
        return Training(config, data, pupils, processes)
    from snn4.agent.training.teaching import taught  # here, because most trainings have no teacher

    return Training(config, data, pupils, processes, taught(config, data, pupils))


def evaluate(config: TrainingConfig, folder: Path, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()
    config = on_other_data(config, folder, options)
    result = tested(config, folder, options.get("steps"))
    return {**result.to_json(), "config": dataclasses.asdict(config)}, []


def about(config: TrainingConfig) -> dict[str, Any]:
    return {"data": config.data.name}


def title(config: Mapping[str, Any]) -> str:
    return f"{config['name']}: {config['data']['name']}"


def plan(config: TrainingConfig, places: Mapping[str, Place]) -> RenderableType:
    """One row: data, network, epochs, and progress."""
    recipe = config.training
    table = Table(title=f"{config.name}, seed {config.seed}")
    for column in ("data", "network", "epochs", "batch size", *map(name_of, places)):
        table.add_column(column)
    done = ["tested" if place.tested else f"{place.step:,} images" for place in places.values()]
    cells = (config.data.name, config.network.name, f"{recipe.epochs:,}", f"{recipe.batch_size:,}")
    table.add_row(*map(Text, cells), *done)
    lines = [f"learned by: the network{', and by its ANN twin after it' * config.ann_twin}"]
    if config.initial is not None:
        lines.append(f"learned on from: {config.initial}")
    if config.teacher is not None:
        lines.append(f"learned from: {', '.join(config.teacher.names) or 'its own inner steps'}, and the labels")
    return Group(table, *map(Text, lines))
