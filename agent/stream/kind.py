"""The kind ``stream``: a classifier through Avalanche's experiences, beside its ANN twin; see `Kind`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from snn4.agent.config.file import checked
from snn4.agent.run import checkpoint
from snn4.agent.run.beings import name_of
from snn4.agent.run.journal import RunError
from snn4.agent.run.place import Place
from snn4.agent.run.work import OneProcess, Processes
from snn4.agent.stream.beings import stream_and_beings
from snn4.agent.stream.config import ContinualConfig
from snn4.agent.stream.page import sections as sections
from snn4.agent.stream.page import tables as tables
from snn4.agent.stream.stream import StreamLife
from snn4.envs.data.datasets import count_classes
from snn4.envs.stream_config import SCENARIOS
from snn4.policies.allocation import keep_freed_memory

name = "stream"
schema: type = ContinualConfig
shorthands: Mapping[str, str] = {"backend": "network.backend"}
options: Mapping[str, str | None] = {"root": "stream.data.root"}


def read(raw: dict[str, Any], source: str, overrides: Sequence[str]) -> ContinualConfig:
    return checked(raw, source, overrides, ContinualConfig)  # type: ignore[no-any-return]


def processes(config: ContinualConfig) -> OneProcess:
    return OneProcess()


def prepare(config: ContinualConfig, processes: Processes) -> StreamLife:
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()
    return StreamLife(config, *stream_and_beings(config))


def evaluate(config: ContinualConfig, folder: Path, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    saved = checkpoint.newest(folder)
    if saved is None:
        raise RunError(f"{folder}: no experience has been learned yet, so there is nothing to test")
    life = prepare(config, OneProcess())
    life.load_state(saved.state)
    life.beings = [being for being in life.beings if being.learned]
    for being in life.beings:
        if being.learned_state is None and being.learned == len(life.stream):  # version 0.1 kept it elsewhere
            learned = checkpoint.load(folder / "learned" / being.name)
            being.learner.load_state(learned.state["learner"] if learned else {})
        being.rows[-1] = being.test(life.stream, config.evaluate_on, life.age)
    return life.summary(), saved.notes


def about(config: ContinualConfig) -> dict[str, Any]:
    return {"data": config.stream.data.name, "strategy": config.strategy.name}


def title(config: Mapping[str, Any]) -> str:
    stream = config["stream"]
    strategy = config["strategy"]["name"]
    return f"{config['name']}: {stream['data']['name']}, {stream['scenario']}-incremental, {strategy}"


def plan(config: ContinualConfig, places: Mapping[str, Place]) -> RenderableType:
    """The experiences, and which ones each being has learned."""
    stream, strategy = config.stream, config.strategy
    title = f"{config.name}, seed {config.seed}: {stream.data.name}, scenario {stream.scenario}"
    table = Table()  # without the title, which is often wider and would wrap
    for column in ("", "classes", *map(name_of, places)):
        table.add_column(column)
    # The classes of images in folders are only known when they are read.
    known = None if stream.data.name == "imagefolder" else stream.groups(count_classes(stream.data))
    for number in range(stream.experiences if known is None else len(known)):
        classes = "in the folder" if known is None else " ".join(map(str, known[number]))
        learned = ["learned" if number < place.number else "" for place in places.values()]
        table.add_row(str(number), classes, *learned)
    notes = [f"{stream.scenario}: {SCENARIOS[stream.scenario]}"]
    notes += [f"shift: {stream.shift}, another in each experience"] if stream.shift != "none" else []
    notes.append(f"against forgetting: {strategy.name}; epochs per experience: {config.training.epochs}")
    notes.append(f"lived by: the network{', and by its ANN twin after it' * config.ann_twin}")
    return Group(Text(title, style="italic"), table, *map(Text, notes))
