"""What the commands ``train``, ``resume`` and ``evaluate`` do with a classifier."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console

from snn4.agent.config import ConfigError, TrainConfig, load_training
from snn4.agent.examination import Examination, ExaminationConfig, examine
from snn4.agent.journal import Journal, RunError, commit
from snn4.agent.model import load_model
from snn4.agent.progress import Bar
from snn4.agent.session import Signals, fail, threads_quiet_about_a_full_disk
from snn4.agent.tables import table
from snn4.agent.training import ANN_TWIN, NETWORK, InOrder, Training, students, train
from snn4.envs.datasets import Data, load_data
from snn4.policies.allocation import keep_freed_memory


def train_session(config: TrainConfig, runs: Path, folder: Path | None = None, quiet: bool = False) -> None:
    """Train to the end, or until a signal: then a checkpoint is written and the process exits with 130 or 143.

    Args:
        runs: where the run folder is made.
        folder: the run to go on with, instead of a new one.
        quiet: show nothing but errors.
    """
    fabric = launched(config)
    resumed = folder is not None
    if not fabric.is_global_zero:
        _follow(config, fabric)
        return
    console = Console()
    journal = Journal(folder) if folder else Journal.create(runs, config)
    fabric.broadcast((str(journal.folder), resumed))
    signals, summary = Signals(), None
    training: Training | None = None
    with threads_quiet_about_a_full_disk(), journal, signals.watching(), Bar(console, quiet) as bar:
        try:
            training = Training(config, journal.folder, fabric, signals)
            if resumed:
                journal.go_on_after(training.restore())
            for event in train(training):
                journal.write(event)
                bar.show(event)
            if training.finished:
                summary, result = tested(training)
            journal.finish("finished" if summary else "interrupted", summary)
        except KeyboardInterrupt:  # a second signal: the checkpoint before it must do
            journal.finish("interrupted")
        except Exception as error:
            fail(journal, error, 0)
            raise
    if summary is None:
        print(f"interrupted; go on with: snn4-agent resume {shlex.quote(str(journal.folder))}", file=sys.stderr)
        sys.exit(128 + (signals.received or 0))
    if not quiet:
        console.print(table(result))
        console.print(f"run folder: {journal.folder}", markup=False, soft_wrap=True)


def launched(config: TrainConfig) -> Fabric:
    """The processes of a training; each of them runs the whole command from its beginning."""
    f = config.fabric
    if f.accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError(config.name, ["fabric.accelerator: got 'cuda', but torch sees no GPU here; allowed is cpu"])
    strategy = "ddp" if f.devices > 1 and f.strategy == "auto" else f.strategy
    fabric = Fabric(accelerator=f.accelerator, devices=f.devices, strategy=strategy, precision=f.precision)
    fabric.launch()
    return fabric


def _follow(config: TrainConfig, fabric: Fabric) -> None:
    """The part of all processes but the first, which writes and shows."""
    folder, resumed = fabric.broadcast(("", False))
    signals = Signals()
    with signals.watching():
        training = Training(config, Path(folder), fabric, signals)
        if resumed:
            training.restore()
        for _ in train(training):
            pass


def tested(training: Training) -> tuple[dict[str, Any], Examination]:
    """The test, once, of the best weights: ``summary.json`` and all that was measured."""
    models = {student.name: student.network for student in training.students}
    selected = {s.name: {"epoch": s.best["epoch"], "top1_validation": s.best["top1"]} for s in training.students}
    result = _examined(models, training.data, training.config.flip)
    return {**_summary(training.config, result), "selected": selected}, result


def resume(folder: Path, quiet: bool = False) -> None:
    """Go on with the training in ``folder``, from its newest sound checkpoint."""
    if (folder / "summary.json").is_file():
        raise RunError(f"{folder}: this training is finished; test it with: snn4-agent evaluate {folder}")
    train_session(load_training(folder / "config.yaml"), folder.parent, folder, quiet)


def evaluate_session(folder: Path, data: str | None, root: str | None, as_json: bool) -> None:
    """Test the model in ``folder`` on the test data of its config, or of ``data``."""
    overrides = [*([f"data.name={data}"] if data else []), *([f"data.root={root}"] if root else [])]
    config = load_training(folder / "config.yaml", overrides)
    loaded = load_data(config.data)
    models = {student.name: student.network for student in students(config, loaded)}
    load_model(folder / "model.safetensors", models[NETWORK])
    if (folder / f"{ANN_TWIN}.safetensors").is_file() and ANN_TWIN in models:
        load_model(folder / f"{ANN_TWIN}.safetensors", models[ANN_TWIN])
    else:
        models.pop(ANN_TWIN, None)
    keep_freed_memory()
    result = _examined(models, loaded, config.flip)
    if as_json:
        print(json.dumps(_summary(config, result), indent=2))
        return
    Console().print(table(result))


def _examined(models: dict[str, Any], data: Data, flip: bool) -> Examination:
    test, validation = InOrder(data.test), InOrder(data.validation)
    config = ExaminationConfig(flip=flip)
    return examine(models[NETWORK], models.get(ANN_TWIN), test, validation, data.classes, config)


def _summary(config: TrainConfig, result: Examination) -> dict[str, Any]:
    described = {"config": dataclasses.asdict(config), "seed": config.seed, **commit()}
    return {**result.to_json(), **described}
