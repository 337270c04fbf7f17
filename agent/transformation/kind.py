"""The kind ``transformation``: a trained model becomes another one; see `Kind`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from snn4.agent.config.file import ConfigError, built, checked
from snn4.agent.config.file import read as read_config
from snn4.agent.errors import BadInput
from snn4.agent.models.files import ModelError, find_model
from snn4.agent.models.nir_file import is_nir
from snn4.agent.models.other_data import on_other_data
from snn4.agent.models.other_data import read as read_data
from snn4.agent.models.sources import About, network_of, open_model
from snn4.agent.run.events import Event
from snn4.agent.run.journal import CONFIG, SUMMARY
from snn4.agent.run.place import Place
from snn4.agent.run.work import OneProcess, Processes, Work
from snn4.agent.show import classifier_page
from snn4.agent.transformation import compression_page, page
from snn4.agent.transformation.config import TransformationConfig
from snn4.agent.transformation.test import tested, tested_beside
from snn4.agent.transformation.transformation import Transformation
from snn4.envs.data.datasets import Data
from snn4.policies.allocation import keep_freed_memory
from snn4.policies.networks.classifier import SpikingClassifier
from snn4.policies.networks.config import NetworkConfig

if TYPE_CHECKING:
    from snn4.agent.models.policies import PolicyOf

AGENT, MODEL = "agent.zip", "model.safetensors"
"""What is in the folders of agents, and of classifiers."""


class Transformations:
    """The kind; policies come from lives, which are handed down, since this one stands beside them.

    Args:
        policy_of: the policy of the life in a run folder.
    """

    name = "transformation"
    schema: type = TransformationConfig
    shorthands: Mapping[str, str] = {}
    options: Mapping[str, str | None] = {
        "root": "data.root", "data": None, "steps": None, "episodes": "episodes",
    }  # fmt: skip

    def __init__(self, policy_of: PolicyOf) -> None:
        self.policy_of = policy_of

    def read(self, raw: dict[str, Any], source: str, overrides: Sequence[str]) -> TransformationConfig:
        return checked(raw, source, overrides, TransformationConfig)  # type: ignore[no-any-return]

    def processes(self, config: TransformationConfig) -> Processes:
        return OneProcess()

    def prepare(self, config: TransformationConfig, processes: Processes) -> Work:
        _set_up(config)
        if config.compress is not None:
            if config.compress.does_nothing:
                allowed = "allowed is one or more of shrink, prune, pattern, bits"
                raise ConfigError(config.name, [f"compress: got nothing to do, {allowed}"])
            return self._compression(config)
        if config.environment is not None:
            from snn4.agent.transformation.policy import PolicyTransformation  # imports stable-baselines3

            return PolicyTransformation(config)
        if is_nir(config.model.source):
            from snn4.agent.transformation.nir_import import NirImport  # its package is optional

            return NirImport(config)
        return _conversion(config)

    def _compression(self, config: TransformationConfig) -> Work:
        """That of the policy of a life, or of a classifier."""
        source, folder = config.model.source, find_model(config.model.source)
        if not folder.is_dir():
            raise ModelError(
                f"{source}: no such folder; allowed is that of a life, training or conversion, or zoo:NAME"
            )
        try:
            if is_life(folder):
                from snn4.agent.transformation.policy_compression import PolicyCompression  # stable-baselines3

                return PolicyCompression(config, self.policy_of(folder, config.task))
            return _classifier_compression(config, folder)
        except BadInput:
            raise
        except ValueError as error:
            raise ConfigError(config.name, [f"{source}: {error}"]) from error

    def evaluate(
        self, config: TransformationConfig, folder: Path, options: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        _set_up(config)
        smaller_policy = config.compress is not None and is_life(find_model(config.model.source))
        if smaller_policy or config.environment is not None or (folder / AGENT).is_file():
            return self._played(config, folder, options), []
        if "episodes" in options:
            raise ModelError(f"{folder}: --episodes: not allowed for a transformation of a classifier; leave it out")
        config = on_other_data(config, folder, options)
        steps = options.get("steps")
        result = (tested if config.compress is None else tested_beside)(config, folder, steps)
        return {**result, "config": dataclasses.asdict(config)}, []

    def _played(self, config: TransformationConfig, folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
        from snn4.agent.transformation.episodes import played_by_compressed, played_by_converted  # SB3

        if wrong := [f"--{option}" for option in options if option != "episodes"]:
            raise ModelError(f"{folder}: {', '.join(wrong)}: not allowed for a policy; allowed is --episodes")
        if not (folder / SUMMARY).is_file():
            raise ModelError(f"{folder}: has not finished; go on with: snn4-agent resume {folder}")
        if config.environment is None:
            return played_by_compressed(self.policy_of(folder, None), config)
        return played_by_converted(folder, config)

    def about(self, config: TransformationConfig) -> dict[str, Any]:
        return {"data": config.environment or config.data.name, "model": config.model.source}

    def title(self, config: Mapping[str, Any]) -> str:
        return f"{config['name']}: {config['model']['source']}"

    def tables(self, summary: Mapping[str, Any]) -> RenderableType:
        """What a run has found, or the test of ``evaluate``."""
        if "comparison" in summary:
            return compression_page.tables(summary)
        if "scores" in summary:
            return page.policy_tables(summary) if "loss" in summary else page.played_tables(summary)
        if "imported" in summary:
            return page.imported_tables(summary)
        return page.tables(summary) if "diagnosis" in summary else classifier_page.tables(summary)

    def sections(self, events: Iterable[Event], summary: Mapping[str, Any] | None) -> Iterator[str]:
        """The page of a run, or of ``evaluate``."""
        if summary is not None and "comparison" in summary:
            return compression_page.sections(events, summary)
        if summary is not None and "scores" in summary:
            return page.policy_sections(summary) if "loss" in summary else page.played_sections(summary)
        if summary is not None and "imported" in summary:
            return page.imported_sections(summary)
        if summary is not None and "diagnosis" not in summary:  # the events tell of the conversion, not of its test
            return classifier_page.sections((), summary)
        return page.sections(events, summary)

    def plan(self, config: TransformationConfig, places: Mapping[str, Place]) -> RenderableType:
        """One row: model, data, and what becomes of it."""
        table = Table(title=f"{config.name}, seed {config.seed}")
        columns, cells = _compression_plan(config) if config.compress is not None else _conversion_plan(config)
        for column in columns:
            table.add_column(column)
        table.add_row(*map(Text, cells))
        return Group(table)


def is_life(folder: Path) -> bool:
    """Whether ``folder`` is the run folder of a life."""
    if not (folder / CONFIG).is_file():
        return False
    raw, _ = read_config(folder / CONFIG)
    return "world" in raw


def _classifier_compression(config: TransformationConfig, folder: Path) -> Work:
    from snn4.agent.transformation.compression import Compression

    file = folder / MODEL
    if (folder / AGENT).is_file():
        raise ModelError(
            f"{config.model.source}: holds a policy that was converted or compressed already; allowed is a life: that "
            "from which it comes, or one that goes on from it"
        )
    if not file.is_file():
        raise ModelError(
            f"{config.model.source}: has no {MODEL}; allowed is what has trained at least once, or zoo:NAME"
        )
    network, about = open_model(str(file), None, config.model.mean, config.model.std)
    if not isinstance(network, SpikingClassifier):
        raise ModelError(f"{config.model.source}: is no spiking network; allowed are those, and conversions of ANNs")
    named: NetworkConfig = built(network_of(file), NetworkConfig)
    return Compression(config, _data(config, about), network, named)


def _conversion(config: TransformationConfig) -> Work:
    network, about = open_model(config.model.source, config.model.architecture, config.model.mean, config.model.std)
    if isinstance(network, SpikingClassifier):
        raise ModelError(f"{config.model.source}: is a spiking network already; allowed is an ANN, such as an ANN twin")
    data = _data(config, about)
    batches = data.train.batches(min(config.convert.images, len(data.train)), shuffle_seed=config.seed, augment=False)
    calibration = next(iter(batches))[0]
    try:
        return Transformation(config, data, network, about, calibration)
    except ValueError as error:
        raise ConfigError(config.name, [f"{config.model.source}: {error}"]) from error


def _data(config: TransformationConfig, about: About) -> Data:
    """The data, in the scale that the network has learned."""
    data_config = config.data
    if about.mean is not None:
        data_config = dataclasses.replace(data_config, mean=about.mean, std=about.std)
    data = read_data(data_config, config.name)
    about.check(data.in_channels, data.n_classes)
    return data


def _set_up(config: TransformationConfig) -> None:
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()


def _conversion_plan(config: TransformationConfig) -> tuple[Sequence[str], Sequence[str]]:
    convert = config.convert
    epochs = f"{config.finetune.epochs} epochs" if convert.method == "qcfs" else "-"
    columns = "model", "data", "method", "neuron", "T", "calibration images", "finetuning"
    return columns, (
        config.model.source, config.environment or config.data.name, convert.method, convert.neuron, str(convert.T),
        f"{convert.images:,}", epochs,
    )  # fmt: skip


def _compression_plan(config: TransformationConfig) -> tuple[Sequence[str], Sequence[str]]:
    assert config.compress is not None
    compress = config.compress
    columns = "model", "neurons removed", "synapses removed", "bits", "recovery"
    return columns, (
        config.model.source, f"{compress.shrink:.0%}", compress.pattern or f"{compress.prune:.0%}",
        str(compress.bits or 32), "yes" if compress.recover else "no",
    )  # fmt: skip
